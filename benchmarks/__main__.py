"""`python -m benchmarks`: the ratios that need no data. The table of methods needs CIFAR-10."""

from benchmarks.views import main

main()
