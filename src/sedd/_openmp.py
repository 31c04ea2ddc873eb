"""Set how long OpenMP threads spin before they sleep. Imported before torch, which reads it when it is imported.

By default libgomp spins for milliseconds. On cores that other programs also use, a waiting thread then keeps the
thread that it waits for from running, and small steps take several times as long. 1,000 iterations (the default of
libgomp if there are more threads than cores) were as fast on idle cores.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:  # a policy chosen by the user stays
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
