"""The real command line beside one Prefect server, and a finished run to compare with."""

import pytest

from tests.tiny import RECIPE, Cli, Run, Undisturbed, draw_photos, files_of, manifest_of


@pytest.fixture(scope="session")
def cli(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line beside the session's Prefect server: starting one takes seconds."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        command_line = Cli(tmp_path_factory.mktemp("cli"), str(client.api_url))
    command_line.prepare()
    return command_line


@pytest.fixture(scope="session")
def undisturbed(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    draw_photos(folder / "photos")
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    run = Run(recipe, folder / "photos", folder / "out")
    summary = cli.run(*run.arguments).found
    datasets, rows = files_of(run.out / "datasets"), manifest_of(run.out)
    return Undisturbed(run.recipe, run.photos, run.out, summary, datasets, rows)
