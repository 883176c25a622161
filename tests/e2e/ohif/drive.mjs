// Drive the OHIF viewer in headless Chromium as a reader would: node drive.mjs request.json
//
// Opens a study in segmentation mode, loads one SEG, then looks, paints and saves as the request says, and prints what
// the viewer showed and stored as one line of JSON. What the viewer is asked goes through the services and commands
// that its production build puts on `window`; what a person would do with the mouse is done with the mouse.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const request = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const { chromium } = await import(pathToFileURL(path.join(request.driver, 'index.mjs')));

const FLAGS = [
  '--no-sandbox', // Chromium refuses to run as root with it, and CI is root
  '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist', // WebGL2 on CPU
  '--no-first-run', '--disable-quic', '--disable-sync', '--disable-component-update', '--disable-background-networking',
  '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', // nothing leaves this machine
];
const LONGEST_WAIT_MS = 90_000;
const SETTLED_LOOKS = 3;

const started = Date.now();
const milliseconds = {};
const mark = (name) => { milliseconds[name] = Date.now() - started; };

/** The display set of a series as the viewer names it; waits until the study browser shows it. */
async function thumbnailOf(page, series) {
  const handle = await page.waitForFunction((uid) => {
    const sets = window.services?.displaySetService?.getActiveDisplaySets() ?? [];
    return sets.find((one) => one.SeriesInstanceUID === uid)?.displaySetInstanceUID;
  }, series, { polling: 100 });
  const id = await handle.jsonValue();
  return { id, element: page.locator(`[id="thumbnail-${id}"]`).first() };
}

/** Wait until some viewport shows an image that `part` is in the address of. */
function imageShown(page, part) {
  return page.waitForFunction((wanted) => {
    const { viewportGridService, cornerstoneViewportService } = window.services ?? {};
    if (!document.querySelector('canvas.cornerstone-canvas')) return false;
    return [...viewportGridService.getState().viewports.keys()].some((id) => {
      const viewport = cornerstoneViewportService.getCornerstoneViewport(id);
      return viewport?.getCurrentImageId?.()?.includes(wanted);
    });
  }, part, { polling: 100 });
}

async function openStudy(page) {
  await page.goto(`${request.site}/segmentation?StudyInstanceUIDs=${request.study}`);
  mark('page');
  await imageShown(page, request.study);
  mark('image');
}

/** Load the SEG by double click, and wait until the panel lists all its segments. */
async function loadSegmentation(page) {
  const { id, element } = await thumbnailOf(page, request.segSeries);
  await element.dblclick();
  await page.waitForFunction((wanted) => {
    const found = window.services.segmentationService.getSegmentations().find((one) => one.segmentationId === wanted);
    const declared = Object.values(found?.segments ?? {}).filter(Boolean).length;
    return declared > 0 && document.querySelectorAll('[data-cy="data-row"]').length >= declared;
  }, id, { polling: 100 });
  mark('segmentation');
  return id;
}

/** What the segment panel shows, and the colour in which the viewport draws each segment. */
function shownSegments(page, segmentationId) {
  return page.evaluate((id) => {
    const { segmentationService, viewportGridService } = window.services;
    const viewport = viewportGridService.getActiveViewportId();
    const dot = (row) => row.querySelector('[data-cy="data-row-colorhex"]');
    const rows = [...document.querySelectorAll('[data-cy="data-row"]')].map((row) => ({
      label: row.querySelector('[data-cy="data-row-title"]').textContent,
      color: getComputedStyle(dot(row)).backgroundColor.match(/\d+/g).slice(0, 3).map(Number),
    }));
    const drawn = Object.values(segmentationService.getSegmentation(id).segments).filter(Boolean).map((segment) => ({
      label: segment.label,
      color: [...segmentationService.getSegmentColor(viewport, id, segment.segmentIndex)].slice(0, 3),
    }));
    return { rows, drawn };
  }, segmentationId);
}

/** The label values that the viewer holds for each image of the series, and where it draws them. */
function heldLabels(page, segmentationId) {
  return page.evaluate((id) => {
    const { segmentationService, viewportGridService, cornerstoneViewportService } = window.services;
    const { segments, representationData } = segmentationService.getSegmentation(id);
    const labels = Object.values(segments).filter(Boolean).map((segment) => [segment.segmentIndex, segment.label]);
    const images = representationData.Labelmap.imageIds.map((name) => window.cornerstone.cache.getImage(name));
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const { left, top, right, bottom } = viewport.canvas.getBoundingClientRect();
    return {
      labels: Object.fromEntries(labels),
      values: Object.fromEntries(images.map((image) => [
        image.referencedImageId.match(/instances\/([^/]+)/)[1], [...image.voxelManager.getScalarData()],
      ])),
      canvas: [left, top, right, bottom].map(Math.round),
    };
  }, segmentationId);
}

/** Scroll to the slice of one SOP Instance and stay until it holds: loading a SEG scrolls too, a little later. */
async function goToImage(page, sopInstanceUid) {
  let held = 0;
  for (let look = 0; held < SETTLED_LOOKS; look += 1) {
    if (look === 100) throw new Error('the viewport does not stay on the slice');
    const there = await page.evaluate((uid) => {
      const { viewportGridService, cornerstoneViewportService } = window.services;
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
      const wanted = viewport.getImageIds().findIndex((id) => id.includes(`/${uid}/`));
      if (viewport.getCurrentImageIdIndex() === wanted) return true;
      window.commandsManager.runCommand('jumpToImage', { imageIndex: wanted });
      return false;
    }, sopInstanceUid);
    held = there ? held + 1 : 0;
    await page.waitForTimeout(200);
  }
}

/** Where points of the patient (LPS, mm) lie on the page. */
function onPage(page, points) {
  return page.evaluate((worlds) => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const { left, top } = viewport.canvas.getBoundingClientRect();
    return worlds.map((world) => viewport.worldToCanvas(world)).map(([x, y]) => [left + x, top + y]);
  }, points);
}

async function paint(page, segmentationId, { segment, image, points, radius }) {
  // By the service: a click on the row may come before the panel listens, and the row's card would cover the image.
  await page.waitForFunction(([id, label]) => {
    const service = window.services.segmentationService;
    const wanted = Object.values(service.getSegmentation(id).segments).find((one) => one?.label === label);
    if (!wanted.active) service.setActiveSegment(id, wanted.segmentIndex);
    return wanted.active;
  }, [segmentationId, segment], { polling: 200 });
  await page.locator('[data-cy="Brush-btn"]').click();
  await page.evaluate((value) => window.commandsManager.runCommand('setBrushSize', { value }), radius);
  await goToImage(page, image);
  const [first, ...others] = await onPage(page, points);
  await page.mouse.move(...first);
  await page.locator('[data-radix-popper-content-wrapper]').first().waitFor({ state: 'detached' });
  await page.mouse.down();
  for (const point of others) await page.mouse.move(...point, { steps: 4 });
  await page.mouse.up();
  await page.waitForTimeout(400);
  mark('painted');
}

/** Save by the viewer's own command and answer its dialog; return what the archive said. */
async function save(page, segmentationId) {
  const answered = page.waitForResponse((one) => one.request().method() === 'POST' && one.url().includes('/studies'));
  // Not awaited: the command ends only after the dialog.
  await page.evaluate((id) => { window.commandsManager.runCommand('storeSegmentation', { segmentationId: id }); },
    segmentationId);
  await page.locator('[data-cy="input-dialog-save-button"] button').click();
  const answer = await answered;
  const [stored] = (await answer.json())['00081199'].Value;
  mark('saved');
  return {
    status: answer.status(),
    sopClassUid: stored['00081150'].Value[0],
    sopInstanceUid: stored['00081155'].Value[0],
  };
}

async function picture(page, name) {
  await page.waitForTimeout(500);
  await page.screenshot({ path: path.join(request.pictures, `${name}.png`) });
}

async function openMontage(page) {
  const { element } = await thumbnailOf(page, request.montageSeries);
  await element.dblclick();
  await imageShown(page, request.montageSeries);
  await picture(page, 'montage');
  mark('montage');
}

const browser = await chromium.launch({ executablePath: request.chromium, headless: true, args: FLAGS });
try {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  page.setDefaultTimeout(LONGEST_WAIT_MS);
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error).slice(0, 300)));
  await openStudy(page);
  const id = await loadSegmentation(page);
  if (request.image) await goToImage(page, request.image);
  const shown = { ...await shownSegments(page, id), ...await heldLabels(page, id) };
  await picture(page, 'segmentation');
  if (request.stroke) {
    await paint(page, id, request.stroke);
    await picture(page, 'painted');
  }
  const saved = request.save ? await save(page, id) : null;
  if (request.montageSeries) await openMontage(page);
  process.stdout.write(`${JSON.stringify({ ...shown, saved, faults, milliseconds })}\n`);
} finally {
  await browser.close();
}
