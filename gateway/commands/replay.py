"""The verb `replay`: run a case again from its stored inputs and compare."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.output import AsJson, ConfigFile, DataFolder, ExitCode, end, print_json, print_table


def replay(
    case: Annotated[str, typer.Argument(help="Case id.")],
    config: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Run a case again and compare every artifact.

    Stages start from their stored inputs; exit code 1 if an artifact differs.
    """
    from gateway import logs
    from gateway.config_file import default_config, load
    from gateway.services.environment import build_environment
    from gateway.services.open_database import has_database
    from gateway.services.replay import replay as run_again

    logs.configure()
    settings = load(config) if config else default_config()
    folder = data or settings.data.folder
    if folder is None or not folder.is_dir():
        end(ExitCode.CONFIGURATION, "no data folder: give --data DIR, or data.folder in the configuration")
    if not has_database(settings, folder):
        end(ExitCode.FAILED, f"no gateway has worked in {folder}: it holds no database")
    env = build_environment(settings, folder, version="replay")
    found = run_again(env, case, device=settings.dispatch.device)
    rows = [
        {
            "iteration": f"{item.generation}.{item.iteration}",
            "stage": item.stage,
            "artifact": item.role,
            "digest": item.kept[:12],
            "replayed": "equal" if item.is_equal else item.recomputed[:12] or "missing",
        }
        for item in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(list(rows[0]) if rows else [], [list(row.values()) for row in rows], empty="nothing to replay")
    if not all(item.is_equal for item in found):
        end(ExitCode.FAILED, "an artifact came out differently")
