"""How long threads that wait for each other spin before they sleep; imported first, since torch reads it at its import.

libgomp lets them spin for milliseconds. On cores that other programs want too, they then spin in place of the thread
they wait for, and small steps take several times as long. A thousand turns (libgomp's own choice where there are more
threads than cores) were as fast on idle cores.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:  # else somebody has chosen
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
