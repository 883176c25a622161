"""The DICOM node: who may call, what is offered, how instances come in over DIMSE and go out again."""
