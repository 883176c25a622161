"""Metrics in Prometheus' text form: counts read from the database when scraped, and requests. No ids."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from gateway.services import registers, worklist
from gateway.web.services import Services

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class RequestMeter:
    """Count requests by route template, never by path: paths hold UIDs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "overread_http_requests", "HTTP requests.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "overread_http_request_seconds",
            "Duration of HTTP requests.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=registry,
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request; `status` 0 means the caller went away before an answer began."""
        route = getattr(scope.get("route"), "path", "") or "unknown"
        self._requests.labels(scope["method"], route, str(status)).inc()
        if not route.endswith("/events"):
            self._seconds.labels(route).observe(seconds)


class NodeCollector(Collector):
    """Read the state of the gateway at each scrape; the database is the truth, so nothing is kept in step here."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        database = self._services.database
        counts, held = worklist.counts(database), registers.holdings(database)
        cases = GaugeMetricFamily("overread_cases", "Cases by state.", labels=("state",))
        for state, number in counts.by_state.items():
            cases.add_metric([state], number)
        yield cases
        yield _by_two("overread_case_verdicts", "Cases by verdict.", ("pipeline", "verdict"), held.verdicts)
        runs = GaugeMetricFamily("overread_stage_runs", "Stage runs by state.", labels=("state",))
        for run_state, number in sorted(held.stage_runs.items()):
            runs.add_metric([run_state], number)
        yield runs
        yield _by_two("overread_deliveries", "Deliveries by state.", ("destination", "state"), held.deliveries)
        yield GaugeMetricFamily("overread_open_holds", "Held objects that wait for a person.", counts.open_holds)
        yield GaugeMetricFamily("overread_studies", "Studies held.", held.studies)
        yield GaugeMetricFamily("overread_instances", "Received instances held.", held.instances)
        yield GaugeMetricFamily("overread_outputs", "Objects made.", held.outputs)
        node = self._services.node()
        yield GaugeMetricFamily("overread_open_associations", "DICOM associations open now.", node.open_associations)
        yield InfoMetricFamily("overread", "Version.", {"version": self._services.version})


def _by_two(name: str, text: str, labels: tuple[str, str], counts: dict[tuple[str, str], int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for (first, second), number in sorted(counts.items()):
        family.add_metric([first, second or "NONE"], number)
    return family


def registry_for(services: Services) -> CollectorRegistry:
    """Return a registry of this application's own."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(NodeCollector(services))
    return registry
