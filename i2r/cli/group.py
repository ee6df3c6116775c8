"""The top-level command group: commands and one verb per stage, imported when they are called."""

import ast
import atexit
import errno
import logging
import os
import sys
import traceback
from functools import cache
from importlib import import_module
from typing import NoReturn

import rich_click as click

from i2r import __version__
from i2r.cli.options import Voice, voice_options
from i2r.cli.streams import guard_streams, release_streams
from i2r.errors import I2RError, find_meant
from i2r.extensions import find_points
from i2r.stages import list_stage_files
from i2r.store.urls import without_secrets
from i2r.surroundings import NO_TORCH, check_packages, load_dask, name_shadow

# Name, module, and the line that the list of commands shows.
COMMANDS = {
    "demo": ("i2r.cli.demo", "Run everything on a real plate and on a simulated one."),
    "init": (
        "i2r.cli.init",
        "Make a pipeline and a layout to fill in, from a folder of images.",
    ),
    "simulate": ("i2r.cli.simulate", "Make a screen of real nuclei with planted effects."),
    "run": ("i2r.cli.run", "Run a pipeline on an experiment; again to resume."),
    "plan": ("i2r.cli.run", "Show what a run would do: units, bytes, memory."),
    "retry": ("i2r.cli.run", "Run what failed again, and what depends on it."),
    "repair": ("i2r.cli.run", "Make again what is gone or damaged."),
    "status": ("i2r.cli.status", "Show what is done, failed, blocked or out of date."),
    "errors": ("i2r.cli.status", "Show what failed and why, and which fields are excluded."),
    "validate": ("i2r.cli.status", "Check that an experiment is complete and well-formed."),
    "clean": ("i2r.cli.clean", "Remove what is left of plates that were taken out."),
    "array": ("i2r.cli.array", "Tasks of a run as a job array (i2r run ... --array N)."),
    "doctor": ("i2r.cli.doctor", "Check a cluster and a place before a long run."),
    "cluster": ("i2r.cli.cluster", "Start, look at and stop a cluster; show its job scripts."),
    "segment-images": (
        "i2r.cli.segment_images",
        "Find the nuclei in a folder of images; no plate.",
    ),
    "score-segmentation": ("i2r.cli.segment_images", "Score label images against true ones."),
    "train-segmenter": (
        "i2r.cli.train_segmenter",
        "Train the segmentation network on labelled images.",
    ),
    "adapt-segmenter": (
        "i2r.cli.adapt_segmenter",
        "Adapt the network to your images, by correcting nuclei.",
    ),
    "table": ("i2r.cli.table", "Print any result table, or write it as CSV or JSON."),
    "show": ("i2r.cli.view", "Put a well, condition or gene on one page."),
    "view": ("i2r.cli.view", "Look at plates, hits and nuclei in a browser."),
    "design": ("i2r.cli.design", "Plan a screen: replicates and controls for a wanted effect."),
    "audit": ("i2r.cli.audit", "Audit anybody's profiles: leaks, calibration, power."),
    "replay": (
        "i2r.cli.replay",
        "Compute one row of a result again from the raw files.",
    ),
    "relocate": ("i2r.cli.relocate", "Take source images from where they were moved."),
    "export": ("i2r.cli.export", "Write results for AnnData, pycytominer, Cytoscape or as CSV."),
}


# Errors of disks, networks, permissions and limits: no bug, whatever raised them.
SURROUNDINGS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE,
    errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOMEM,
}  # fmt: skip
# Set in click's context while only the list of commands is being written.
_LISTING = "i2r.listing"
# Set while a shell completes the options of one command, which must be the real one.
_RESOLVING = "i2r.resolving"


class LazyGroup(click.RichGroup):
    """Finds commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands, then the stages."""
        return [*COMMANDS, *_stage_lines()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; for the list of commands a stand-in with its line is enough."""
        lines = {name: line for name, (_, line) in COMMANDS.items()} | _stage_lines()
        if cmd_name not in lines:
            return None
        listing = ctx.resilient_parsing and not ctx.meta.get(_RESOLVING)
        if listing or ctx.meta.get(_LISTING):
            return click.Command(cmd_name, short_help=lines[cmd_name], help=lines[cmd_name])
        check_packages()
        load_dask()
        if cmd_name in COMMANDS:
            command: click.Command = getattr(
                import_module(COMMANDS[cmd_name][0]), cmd_name.replace("-", "_")
            )
        else:
            from i2r.cli.stages import make_stage_command

            command = make_stage_command(cmd_name)
        if not any(option.name == "quiet" for option in command.params):
            command.params += voice_options()
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, for which none of them has to be imported."""
        ctx.meta[_LISTING] = True
        super().format_help(ctx, formatter)  # type: ignore[arg-type] # rich-click's are narrower

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one was probably meant."""
        known = self.list_commands(ctx)
        if args[0] not in known and (meant := find_meant(args[0], known)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant!r}?")
        ctx.meta[_RESOLVING] = True
        return super().resolve_command(ctx, args)


@cache
def _stage_lines() -> dict[str, str]:
    """Give every stage's verb with the first line of its module, read without importing it."""
    lines = {}
    for verb, path in list_stage_files().items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        lines[verb] = (docstring or "").partition("\n")[0]
    for point in find_points("i2r.stages"):
        lines[point.name] = f"From the package {point.value.partition('.')[0]}."
    return lines


click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
click.rich_click.COMMAND_GROUPS = {
    "i2r": [
        {"name": "Experiments", "commands": list(COMMANDS)},
        {"name": "Stages", "commands": list(_stage_lines())},
    ]
}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="i2r")
def i2r() -> None:
    """From raw plates to answers: which perturbations changed the nuclei.

    Start with 'i2r demo', then 'i2r init' on your own images. A run that was stopped goes on
    when the same command is given again. Exit codes: 0 done, 1 a bug, 2 wrong input or stopped,
    3 done with failed units or excluded fields, 130 interrupted.
    """


i2r.params += voice_options()


def main() -> NoReturn:
    """Run the command line in this process, which then ends with its exit code.

    The interpreter is not taken apart at the end. Threads of C++ libraries that still run then
    (Arrow's and PyTorch's, or a callback under way in one of Dask's) are ended by force as soon
    as they ask for the interpreter, and C++ answers with "terminate called without an active
    exception": a complete run would end, rarely, as a crash. By now the cluster, the ledger and
    the lock are closed, so what others registered to be done at the end is done, the streams are
    flushed, and the process leaves.
    """
    guard_streams()
    # Of damaged files, in its own words and without their names; i2r's messages name them.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        run_command_line()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    atexit._run_exitfuncs()
    logging.shutdown()
    os._exit(release_streams() or code)


def _escape(line: str) -> str:
    """Write characters that can't be printed as Python does: by their number."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _describe_surroundings(error: OSError) -> str:
    """Say what the system refused, and what to do."""
    where = f"{without_secrets(str(error.filename))}: " if error.filename else ""
    if isinstance(error, IsADirectoryError) and where:
        return f"{where}a folder, expected a file. Give the path of a file."
    return (
        f"{where}{error.strerror}. Look after the disk, the permissions or the limits of this "
        "account, and give the same command again."
    )


def run_command_line() -> NoReturn:
    """Run the command line; the one place where errors become exit codes."""
    voice = Voice()
    try:
        sys.exit(i2r(prog_name="i2r", standalone_mode=False, obj=voice) or 0)
    except I2RError as error:
        if voice.level > 0:
            traceback.print_exc()
        # Other characters end lines too, and some move a terminal's cursor: names may hold them.
        lines = str(error).rstrip("\n").split("\n")
        sys.stderr.write("".join(f"error: {_escape(line)}\n" for line in lines))
        sys.exit(2)
    except ConnectionError as error:
        if voice.level > 0:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"See '{context.command_path} --help'.\n" if context is not None else ""
        sys.stderr.write(f"error: {error.format_message()}\n{hint}")
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except OSError as error:
        if error.errno not in SURROUNDINGS and not isinstance(error, PermissionError):
            _report_bug(error)
        if voice.level > 0:
            traceback.print_exc()
        sys.stderr.write(f"error: {_describe_surroundings(error)}\n")
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            _report_bug(error)
        sys.stderr.write(f"error: {NO_TORCH}\n")
        sys.exit(2)
    except Exception as error:
        _report_bug(error)


def _report_bug(error: BaseException) -> NoReturn:
    if shadow := name_shadow(error):
        sys.stderr.write(f"error: {shadow}\n")
        sys.exit(2)
    traceback.print_exc()
    sys.stderr.write("error: this is a bug in i2r; please report it with the lines above.\n")
    sys.exit(1)
