// Write SEGs with @cornerstonejs/adapters of any line, as OHIF calls it: node write_seg.mjs requests.json
//
// The file names the package folder and a list of requests; each gives the source files in the order of the caller's
// stack, label volumes in the same order, their segments, options, and where to write. A request that the adapters
// refuse leaves its message in place of the file.

import fs from 'node:fs';
import { createRequire, register } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

register('./hooks.mjs', import.meta.url);

const { folder, requests } = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const dcmjs = createRequire(pathToFileURL(path.join(folder, 'package.json')))('dcmjs');
const entry = 'dist/esm/adapters/Cornerstone3D/Segmentation/generateSegmentation.js';
const { generateSegmentation } = await import(
  pathToFileURL(path.join(folder, 'node_modules/@cornerstonejs/adapters', entry))
);

const bytes = (file) => {
  const data = fs.readFileSync(file);
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
};

const STUDY = ['StudyInstanceUID', 'PatientID', 'PatientName', 'StudyDate', 'StudyTime', 'StudyID', 'AccessionNumber'];
const SERIES = ['SeriesInstanceUID', 'SeriesNumber', 'Modality', 'FrameOfReferenceUID'];
const pick = (instance, names) => Object.fromEntries(names.filter((n) => n in instance).map((n) => [n, instance[n]]));

function readImages(sources) {
  const instances = new Map();
  const images = sources.map((file, index) => {
    const parsed = dcmjs.data.DicomMessage.readFile(bytes(file));
    const instance = dcmjs.data.DicomMetaDictionary.naturalizeDataset(parsed.dict);
    const imageId = `wadors:/instances/${index}/frames/1`;
    instances.set(imageId, instance);
    return { imageId, voxelManager: { getScalarData: () => new Uint16Array(instance.Rows * instance.Columns) } };
  });
  return { images, instances };
}

function metadataOf(instances, predecessor) {
  const providers = {
    StudyData: (i) => pick(i, STUDY),
    SeriesData: (i) => pick(i, SERIES),
    ImageData: (i) => i,
    instance: (i) => i,
    PredecessorSequence: () => predecessor,
    imagePlaneModule: (i) => ({
      imagePositionPatient: i.ImagePositionPatient,
      imageOrientationPatient: i.ImageOrientationPatient,
      rowCosines: i.ImageOrientationPatient.slice(0, 3),
      columnCosines: i.ImageOrientationPatient.slice(3, 6),
      pixelSpacing: i.PixelSpacing,
      sliceThickness: i.SliceThickness,
    }),
  };
  return { get: (type, imageId) => providers[type]?.(instances.get(imageId)) };
}

function segmentMetadata({ number, label }) {
  const tissue = { CodeValue: 'T-D0050', CodingSchemeDesignator: 'SRT', CodeMeaning: 'Tissue' };
  return {
    SegmentNumber: String(number),
    SegmentLabel: label,
    SegmentAlgorithmType: 'MANUAL',
    SegmentAlgorithmName: 'OHIF Brush',
    RecommendedDisplayCIELabValue: [43803, 26565, 37722],
    SegmentedPropertyCategoryCodeSequence: tissue,
    SegmentedPropertyTypeCodeSequence: tissue,
  };
}

function readLabelmap(volume, count, rows, columns) {
  const values = new Uint8Array(bytes(volume.file));
  const labelmaps2D = Array.from({ length: count }, (_, z) => {
    const pixelData = values.slice(z * rows * columns, (z + 1) * rows * columns);
    const segmentsOnLabelmap = [...new Set(pixelData)].filter((n) => n !== 0).sort((a, b) => a - b);
    return segmentsOnLabelmap.length ? { pixelData, segmentsOnLabelmap, rows, columns } : undefined;
  });
  const metadata = [];
  volume.segments.forEach((segment) => {
    metadata[segment.number] = segmentMetadata(segment);
  });
  return { labelmaps2D, metadata };
}

function write(request) {
  const { images, instances } = readImages(request.sources);
  const { Rows: rows, Columns: columns } = instances.values().next().value;
  const labelmaps = request.labelmaps.map((volume) => readLabelmap(volume, images.length, rows, columns));
  const options = { ...request.options };
  if (request.predecessor) {
    options.predecessorImageId = images[0].imageId;
  }
  const metadata = metadataOf(instances, request.predecessor);
  const { dataset } = generateSegmentation(images, labelmaps.length === 1 ? labelmaps[0] : labelmaps, metadata, options);
  return Buffer.from(dcmjs.data.datasetToDict(dataset).write());
}

for (const request of requests) {
  try {
    fs.writeFileSync(request.output, write(request));
  } catch (error) {
    fs.writeFileSync(`${request.output}.refused`, String(error));
  }
}
