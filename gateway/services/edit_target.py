"""The case and stage that a person names for an edit: they must exist, and the stage must take edits."""

from __future__ import annotations

from gateway.domain.errors import NotFound, UnacceptableInstance
from gateway.services.environment import Environment
from gateway.store.tables import Case


def require_target(env: Environment, case_id: str, stage: str) -> Case:
    """Return the case when its pipeline has this editable stage.

    Raises
    ------
    NotFound
        If there is no such case, or no such stage in it that can be edited.
    """
    case = _case(env, case_id)
    names = editable_stages(env, case)
    if stage not in names:
        choice = f"; its editable stages are: {', '.join(names)}" if names else ""
        raise NotFound(f"pipeline '{case.pipeline}' has no editable stage '{stage[:64]}'{choice}")
    return case


def require_named_stage(env: Environment, case_id: str, stage: str, *, what: str) -> Case:
    """Return the case; the stage must have been named, because the object itself cannot say it.

    Raises
    ------
    UnacceptableInstance
        ``STAGE_NOT_NAMED``, with the stages to choose from.
    NotFound
        As `require_target`.
    """
    if stage:
        return require_target(env, case_id, stage)
    case = _case(env, case_id)
    names = ", ".join(editable_stages(env, case)) or "none"
    raise UnacceptableInstance(
        f"{what} does not say which stage it is an edit of: name it (--stage NAME, ?stage=NAME), one of: {names}",
        code="STAGE_NOT_NAMED",
    )


def editable_stages(env: Environment, case: Case) -> tuple[str, ...]:
    """Return the names of the stages of a case that take edits."""
    return tuple(stage.name for stage in env.pipeline(case.pipeline).editable_stages)


def _case(env: Environment, case_id: str) -> Case:
    with env.database.read() as session:
        case = session.get(Case, case_id)
    if case is None:
        raise NotFound("there is no case with this id")
    return case
