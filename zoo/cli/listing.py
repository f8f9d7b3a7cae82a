"""`zoo list`: architectures and tasks."""

from rich.text import Text

from zoo import registry
from zoo.cli.console import DIM, NAME, dump, out, table
from zoo.pipelines.load import model_tasks
from zoo.tasks import NAMES


def show(json: bool) -> None:
    """Shows which architecture has which task."""
    found = {
        name: {t.name: cls for cls, t in registry.architecture(name).tasks.items()}
        for name in registry.MODULES
    }
    runs = model_tasks()
    if json:
        dump(
            {
                "architectures": {
                    name: {"tasks": tasks, "classes": sorted(registry.architecture(name).tasks)}
                    for name, tasks in found.items()
                },
                "tasks": {
                    name: {"description": text, "pipeline": runs.get(name)}
                    for name, text in NAMES.items()
                },
            }
        )
        return
    used = [task for task in NAMES if any(task in tasks for tasks in found.values())]
    console = out()
    grid = table("model_type", ("tasks", {"overflow": "fold"}))
    for name, tasks in sorted(found.items()):
        grid.add_row(Text(name, NAME), ", ".join(task for task in used if task in tasks))
    legend = table("task", "gives", "zoo run --task")
    for task in used:
        legend.add_row(Text(task, NAME), NAMES[task], runs.get(task) or Text("—", DIM))
    console.print(grid)
    console.print()
    console.print(legend)
