-- What Orthanc forwards to the gateway: whole image series once they are stable, and segmentations that readers save.
-- What the gateway itself delivered stays here. The gateway would recognise it and stop it anyway; not sending it is
-- cheaper.

local GATEWAY = 'overread'       -- its name among the DicomModalities
local GATEWAY_AET = 'OVERREAD'   -- how it calls
local IMAGE_MODALITIES = { MR = true }
local SEGMENTATIONS = {
  ['1.2.840.10008.5.1.4.1.1.66.4'] = true,  -- Segmentation Storage
  ['1.2.840.10008.5.1.4.1.1.66.7'] = true   -- Label Map Segmentation Storage, what OHIF saves by default
}

-- One job for each resource, so a series goes over one association; SendToModality would take a single instance only.
local function forward(resourceId)
  local order = { Resources = { resourceId }, Asynchronous = true, Permissive = false }
  RestApiPost('/modalities/' .. GATEWAY .. '/store', DumpJson(order, true), true)
end

function OnStoredInstance(instanceId, tags, metadata, origin)
  if SEGMENTATIONS[metadata['SopClassUid']] and metadata['RemoteAET'] ~= GATEWAY_AET then
    forward(instanceId)
  end
end

function OnStableSeries(seriesId, tags, metadata)
  if IMAGE_MODALITIES[tags['Modality']] and metadata['RemoteAET'] ~= GATEWAY_AET then
    forward(seriesId)
  end
end
