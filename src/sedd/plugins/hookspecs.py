"""The plugin door: four hooks, each taking nothing and returning a list of classes.

A distribution joins by an entry point in the group ``sedd``::

    [project.entry-points.sedd]
    my-plugin = "my_package"

and a module in which some of these hooks are implemented::

    import sedd

    @sedd.hookimpl
    def sedd_curricula():
        return [MyCurriculum]
"""

from __future__ import annotations

import pluggy

from sedd.plugins.contracts import Backend, Curriculum, Noise, Tracker

hookspec = pluggy.HookspecMarker("sedd")
hookimpl = pluggy.HookimplMarker("sedd")


@hookspec
def sedd_curricula() -> list[type[Curriculum]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the curricula of this plugin: classes derived from `sedd.Curriculum` or `sedd.Ramp`."""


@hookspec
def sedd_noises() -> list[type[Noise]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the noise schedules of this plugin: classes derived from `sedd.Noise`."""


@hookspec
def sedd_backends() -> list[type[Backend]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the device backends of this plugin: classes derived from `sedd.Backend`."""


@hookspec
def sedd_trackers() -> list[type[Tracker]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the trackers of this plugin: classes derived from `sedd.Tracker`."""
