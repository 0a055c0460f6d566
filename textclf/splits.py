"""Names of the splits of a data set, in a module that costs no import.

A network is fitted on train. The epoch, the temperature and the thresholds are chosen on
validation. Test is read only to report.
"""

SPLITS = ("train", "validation", "test")
