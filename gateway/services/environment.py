"""What every service needs to do its work, built once and passed in: no globals, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicom_sr.equipment import Equipment
from dicom_sr.uids import derive_uid
from gateway.config import Config
from gateway.domain.errors import NotFound
from gateway.domain.pipeline import Pipeline
from gateway.services.catalogue import Catalogue
from gateway.services.open_database import open_database
from gateway.store.blobs import BlobStore
from gateway.store.database import Database

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Database, blobs, pipelines and identity of one gateway.

    Parameters
    ----------
    config : Config
        The configuration in force.
    database : Database
        The truth.
    blobs : BlobStore
        Content-addressed files.
    pipelines : mapping of str to Pipeline
        By name.
    catalogue : Catalogue
        Models by name, with their digests and criteria.
    equipment : Equipment
        This gateway as the DICOM objects name it.
    clock : Clock
        Gives the time.
    """

    config: Config
    database: Database
    blobs: BlobStore
    pipelines: Mapping[str, Pipeline]
    catalogue: Catalogue
    equipment: Equipment
    clock: Clock = utc_now

    def pipeline(self, name: str) -> Pipeline:
        """Return a pipeline.

        Raises
        ------
        NotFound
            If the configuration no longer declares it.
        """
        try:
            return self.pipelines[name]
        except KeyError:
            raise NotFound(f"pipeline '{name}' is not in the configuration any more") from None


def build_environment(config: Config, data: Path, *, version: str, clock: Clock = utc_now) -> Environment:
    """Open the data folder `data` and put an environment together.

    Raises
    ------
    StorageUnavailable
        If the folder cannot be written.
    ConfigurationError
        If the database cannot be opened as configured.
    """
    blobs = BlobStore(data / "blobs")
    database = open_database(config, data)
    return Environment(
        config=config,
        database=database,
        blobs=blobs,
        pipelines={pipeline.name: pipeline.to_domain() for pipeline in config.pipelines},
        catalogue=Catalogue(),
        equipment=gateway_equipment(config, version=version),
        clock=clock,
    )


def gateway_equipment(config: Config, *, version: str) -> Equipment:
    """Return how this gateway names itself in the objects it writes; stable for one AE title."""
    return Equipment(
        manufacturer="Overread",
        model_name="Overread gateway",
        serial_number=config.node.ae_title,
        software_versions=(f"overread {version}",),
        device_uid=derive_uid("device", config.node.ae_title),
    )
