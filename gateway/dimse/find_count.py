"""How many instances a study has at its sender, asked by C-FIND: evidence that everything has arrived."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from gateway.config import NodeConfig, Peer
from gateway.dimse.contexts import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STUDY_ROOT_FIND
from gateway.dimse.remotes import remote_node
from gateway.dimse.scu import RequestedAssociation

_PROPOSALS: Final = [(STUDY_ROOT_FIND, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))]


class FindCount:
    """Asks a peer by C-FIND; see `gateway.services.expected_count.ExpectedCounter`.

    Parameters
    ----------
    node : NodeConfig
        Our AE title and certificate.
    """

    def __init__(self, node: NodeConfig) -> None:
        self._node = node

    def expected_instances(self, peer: Peer, study_instance_uid: str) -> int | None:
        """Return how many instances the peer says the study has, None if it does not know the study or cannot say.

        Number of Study Related Instances (0020,1208) is optional in queries: a peer that leaves it out is asked at
        SERIES level, and failing that for every instance.

        Raises
        ------
        PeerUnreachable, PeerRejected
            It cannot be asked now.
        """
        remote = remote_node(self._node, peer, answer_seconds=30.0)
        with RequestedAssociation(remote, _PROPOSALS) as association:
            studies = list(association.find(_query("STUDY", study_instance_uid, "NumberOfStudyRelatedInstances")))
            if not studies:
                return None
            count = _number(studies[0], "NumberOfStudyRelatedInstances")
            if count is not None:
                return count
            series = list(association.find(_query("SERIES", study_instance_uid, "NumberOfSeriesRelatedInstances")))
            counts = [_number(one, "NumberOfSeriesRelatedInstances") for one in series]
            if counts and None not in counts:
                return sum(count for count in counts if count is not None)
            return _count_images(association, study_instance_uid, series)


def _count_images(association: RequestedAssociation, study_instance_uid: str, series: list[Dataset]) -> int | None:
    total = 0
    for one in series:
        query = _query("IMAGE", study_instance_uid, "SOPInstanceUID")
        query.SeriesInstanceUID = one.SeriesInstanceUID
        total += len(list(association.find(query)))
    return total or None


def _query(level: str, study_instance_uid: str, returned: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    query.StudyInstanceUID = study_instance_uid
    if level == "SERIES":
        query.SeriesInstanceUID = ""
    setattr(query, returned, None)
    return query


def _number(match: Dataset, keyword: str) -> int | None:
    value = match.get(keyword)
    return int(value) if value not in (None, "") else None
