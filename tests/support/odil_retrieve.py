"""C-GET of a study by odil, run by Debian's own Python: the `get` of odil's command line fails by itself.

usage: /usr/bin/python3 odil_retrieve.py PORT STUDY_INSTANCE_UID

Prints the SOP Instance UID of each object that came, a line each.
"""

import sys

import odil


def main():
    """Associate, retrieve, print, release."""
    port, study = int(sys.argv[1]), sys.argv[2]
    parameters = odil.AssociationParameters
    context, role = parameters.PresentationContext, parameters.PresentationContext.Role
    syntaxes = [odil.registry.ExplicitVRLittleEndian, odil.registry.ImplicitVRLittleEndian]
    model = odil.registry.StudyRootQueryRetrieveInformationModelGet
    association = odil.Association()
    association.set_peer_host("127.0.0.1")
    association.set_peer_port(port)
    association.update_parameters().set_calling_ae_title("ODIL").set_called_ae_title(
        "OVERREAD"
    ).set_presentation_contexts(
        [context(1, model, syntaxes, role.SCU), context(3, odil.registry.MRImageStorage, syntaxes, role.SCP)]
    )
    association.associate()
    query = odil.DataSet()
    query.add("QueryRetrieveLevel", ["STUDY"])
    query.add("StudyInstanceUID", [study])

    scu = odil.GetSCU(association)
    scu.set_affected_sop_class(model)
    for instance in scu.get(query):
        sys.stdout.write(instance.as_string("SOPInstanceUID")[0].decode() + "\n")
    association.release()


main()
