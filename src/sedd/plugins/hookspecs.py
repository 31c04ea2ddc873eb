"""The five hooks of plugins; each takes no arguments and returns a list of classes.

A distribution is a plugin if it has an entry point in the group ``sedd``::

    [project.entry-points.sedd]
    my-plugin = "my_package"

that names a module with implementations of some of these hooks::

    import sedd

    @sedd.hookimpl
    def sedd_curricula():
        return [MyCurriculum]
"""

from __future__ import annotations

import pluggy

from sedd.plugins.contracts import Backend, Curriculum, Metric, Network, Noise, Tracker, Vocabulary

hookspec = pluggy.HookspecMarker("sedd")
hookimpl = pluggy.HookimplMarker("sedd")


@hookspec
def sedd_curricula() -> list[type[Curriculum]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the curricula of this plugin: classes derived from `sedd.Curriculum` or `sedd.Ramp`."""


@hookspec
def sedd_noises() -> list[type[Noise]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the noise schedules of this plugin: classes derived from `sedd.Noise`."""


@hookspec
def sedd_networks() -> list[type[Network]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the networks of this plugin: classes derived from `sedd.Network`."""


@hookspec
def sedd_backends() -> list[type[Backend]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the device backends of this plugin: classes derived from `sedd.Backend`."""


@hookspec
def sedd_trackers() -> list[type[Tracker]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the trackers of this plugin: classes derived from `sedd.Tracker`."""


@hookspec
def sedd_alphabets() -> list[type[Vocabulary]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the alphabets of this plugin: classes derived from `sedd.Vocabulary`."""


@hookspec
def sedd_metrics() -> list[type[Metric]]:  # type: ignore[empty-body]  # a specification has no body
    """Return the evaluation metrics of this plugin: classes derived from `sedd.Metric`."""
