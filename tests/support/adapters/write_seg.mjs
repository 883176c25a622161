// Write a SEG with @cornerstonejs/adapters of any line, as OHIF calls it: node write_seg.mjs request.json
//
// The request names the package folder, the source files in the order of the caller's stack, label volumes of the same
// order, the segments, options, and where to write.

import fs from 'node:fs';
import { createRequire, register } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

register('./hooks.mjs', import.meta.url);

const request = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const packages = path.join(request.folder, 'node_modules');
const dcmjs = createRequire(pathToFileURL(path.join(request.folder, 'package.json')))('dcmjs');
const { generateSegmentation } = await import(
  pathToFileURL(
    path.join(packages, '@cornerstonejs/adapters/dist/esm/adapters/Cornerstone3D/Segmentation/generateSegmentation.js')
  )
);

const bytes = (file) => {
  const data = fs.readFileSync(file);
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
};

const instances = new Map();
const images = request.sources.map((file, index) => {
  const parsed = dcmjs.data.DicomMessage.readFile(bytes(file));
  const instance = dcmjs.data.DicomMetaDictionary.naturalizeDataset(parsed.dict);
  const imageId = `wadors:/instances/${index}/frames/1`;
  instances.set(imageId, instance);
  return { imageId, voxelManager: { getScalarData: () => new Uint16Array(instance.Rows * instance.Columns) } };
});

const pick = (instance, ...names) => Object.fromEntries(names.filter((n) => n in instance).map((n) => [n, instance[n]]));
const STUDY = ['StudyInstanceUID', 'PatientID', 'PatientName', 'StudyDate', 'StudyTime', 'StudyID', 'AccessionNumber'];
const plane = (i) => ({
  imagePositionPatient: i.ImagePositionPatient,
  imageOrientationPatient: i.ImageOrientationPatient,
  rowCosines: i.ImageOrientationPatient.slice(0, 3),
  columnCosines: i.ImageOrientationPatient.slice(3, 6),
  pixelSpacing: i.PixelSpacing,
  sliceThickness: i.SliceThickness,
});
const providers = {
  StudyData: (i) => pick(i, ...STUDY),
  SeriesData: (i) => pick(i, 'SeriesInstanceUID', 'SeriesNumber', 'Modality', 'FrameOfReferenceUID'),
  ImageData: (i) => i,
  instance: (i) => i,
  imagePlaneModule: plane,
  PredecessorSequence: () => request.predecessor,
};
const metadata = {
  get: (type, imageId) => {
    const instance = instances.get(imageId) ?? instances.values().next().value;
    return providers[type] ? providers[type](instance) : undefined;
  },
};

const { Rows: rows, Columns: columns } = instances.values().next().value;
const labelmaps = request.labelmaps.map((volume) => {
  const values = new Uint8Array(bytes(volume.file));
  const labelmaps2D = images.map((_, z) => {
    const pixelData = values.slice(z * rows * columns, (z + 1) * rows * columns);
    const segmentsOnLabelmap = [...new Set(pixelData)].filter((n) => n !== 0).sort((a, b) => a - b);
    return segmentsOnLabelmap.length ? { pixelData, segmentsOnLabelmap, rows, columns } : undefined;
  });
  const described = [];
  for (const { number, label } of volume.segments) {
    const tissue = { CodeValue: 'T-D0050', CodingSchemeDesignator: 'SRT', CodeMeaning: 'Tissue' };
    described[number] = {
      SegmentNumber: String(number),
      SegmentLabel: label,
      SegmentAlgorithmType: 'MANUAL',
      SegmentAlgorithmName: 'OHIF Brush',
      RecommendedDisplayCIELabValue: [43803, 26565, 37722],
      SegmentedPropertyCategoryCodeSequence: tissue,
      SegmentedPropertyTypeCodeSequence: tissue,
    };
  }
  return { labelmaps2D, metadata: described };
});

const options = { ...request.options };
if (request.predecessor) {
  options.predecessorImageId = images[0].imageId;
}
const { dataset } = generateSegmentation(images, labelmaps.length === 1 ? labelmaps[0] : labelmaps, metadata, options);
fs.writeFileSync(request.output, Buffer.from(dcmjs.data.datasetToDict(dataset).write()));
