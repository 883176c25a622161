// Node module hooks: run @cornerstonejs/adapters without its renderer.
//
// The adapters take from @cornerstonejs/core, /tools and /metadata only names of metadata modules and a few helpers of
// three lines each. Those packages need a browser; stand-ins give what writing a SEG touches.

const STAND_IN = `
const names = {
  IMAGE_PLANE: 'imagePlaneModule', INSTANCE: 'instance', MULTIFRAME: 'multiframeModule',
  PREDECESSOR_SEQUENCE: 'PredecessorSequence', STUDY_DATA: 'StudyData', SERIES_DATA: 'SeriesData',
  IMAGE_DATA: 'ImageData', NEW_INSTANCE_DATA: 'NewInstanceData', GENERAL_SERIES: 'generalSeriesModule',
  GENERAL_IMAGE: 'generalImageModule', SOP_COMMON: 'sopCommonModule',
};
const quiet = { debug() {}, info() {}, warn() {}, error() {}, log() {}, getLogger: () => quiet };
const isEqual = (a, b, tolerance = 1e-5) =>
  typeof a === 'number' ? Math.abs(a - b) <= tolerance
    : Boolean(a && b) && a.length === b.length && [...a].every((v, i) => Math.abs(v - b[i]) <= tolerance);
const toFiniteVector = (values, length) => {
  const found = values && [...values].map(Number);
  return found && found.length === length && found.every(Number.isFinite) ? found : undefined;
};
const imageIdToFrameStart = (imageId) => Number((/\\/frames\\/(\\d+)/.exec(imageId) || [])[1]) || undefined;
export const Enums = { MetadataModules: names, Events: {} };
export const utilities = {
  isEqual, toFiniteVector, FrameRange: { imageIdToFrameStart },
  logger: { adaptersLog: quiet, coreLog: quiet, toolsLog: quiet },
};
export const metaData = {}, cache = {}, imageLoader = {}, log = quiet, annotation = {}, Types = {}, CONSTANTS = {};
export const eventTarget = {}, triggerEvent = () => {}, getRenderingEngines = () => [], segmentation = {};
export default {};
`;

export async function resolve(specifier, context, next) {
  if (/^@cornerstonejs\/(core|tools|metadata|utils)(\/|$)/.test(specifier)) {
    return { url: `data:text/javascript,${encodeURIComponent(STAND_IN)}`, shortCircuit: true };
  }
  return next(specifier, context);
}

export async function load(url, context, next) {
  // Older lines ship ES modules without saying so in their package.json.
  return next(url, url.includes('/adapters/dist/esm/') ? { ...context, format: 'module' } : context);
}
