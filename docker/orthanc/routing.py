"""What Orthanc forwards to the gateway, for Orthanc's Python plugin: the same rules as routing.lua, use one of the two.

Whole image series once they are stable, and segmentations that readers save. What the gateway itself delivered stays
here. The gateway would recognise it and stop it anyway; not sending it is cheaper.

    "Plugins": [".../libOrthancPython.so"], "PythonScript": "/etc/overread/routing.py"

Inside Orthanc `orthanc` is a module that the plugin provides.
"""

import json

import orthanc

GATEWAY = "overread"  # its name among the DicomModalities
GATEWAY_AET = "OVERREAD"  # how it calls
IMAGE_MODALITIES = frozenset({"MR"})
SEGMENTATIONS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage, what OHIF saves by default
    }
)


def forward(resource_id):
    """Send one resource in one job, so a series goes over one association."""
    order = {"Resources": [resource_id], "Asynchronous": True, "Permissive": False}
    orthanc.RestApiPost(f"/modalities/{GATEWAY}/store", json.dumps(order))


def metadata(level, resource_id, name):
    """Return a metadata value, empty where there is none."""
    try:
        return orthanc.RestApiGet(f"/{level}/{resource_id}/metadata/{name}").decode()
    except orthanc.OrthancException:
        return ""


def on_change(change, _level, resource_id):
    """Forward what is new and not the gateway's own."""
    if change == orthanc.ChangeType.NEW_INSTANCE:
        is_wanted = metadata("instances", resource_id, "SopClassUid") in SEGMENTATIONS
        if is_wanted and metadata("instances", resource_id, "RemoteAET") != GATEWAY_AET:
            forward(resource_id)
    elif change == orthanc.ChangeType.STABLE_SERIES:
        series = json.loads(orthanc.RestApiGet(f"/series/{resource_id}"))
        is_wanted = series["MainDicomTags"].get("Modality") in IMAGE_MODALITIES
        if is_wanted and metadata("series", resource_id, "RemoteAET") != GATEWAY_AET:
            forward(resource_id)


orthanc.RegisterOnChangeCallback(on_change)
