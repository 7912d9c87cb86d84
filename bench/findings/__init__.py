"""``python -m bench.findings``: measures how good the findings are, on generated fleets with generated faults.

docs/performance.md describes a fleet. Ten weeks of history without a fault are followed by two weeks that are
evaluated, in which three of four fleets have faults. The fleets are counted in a throw-away PostgreSQL. The product
computes its findings with its defaults every twelve hours, and every half hour in the first hours of a fault.
Thresholds may be chosen by the tuning seeds. The held-out seeds are for the published figures only.

How findings and faults are scored:

- A **finding** is judged if it is a warning or critical, or of a kind in ``INFORMATION``, and its window ends in the
  two weeks. Findings of the same kind and agent (or of no agent) are one finding if their windows overlap or touch. A
  finding also stands for the kinds in its ``alsoSeenAs``. The kinds in ``NOT_JUDGED`` are not judged.
- It is **true** if it overlaps a fault that its kind can detect (``MEANT`` and ``ALSO_TRUE`` in :mod:`.scoring`) and
  names one of the fault's agents, alone or among its contributors. During an outage it must concern the organization.
  ``uncached_tokens`` is also true of an agent that was generated to request a token per call.
  **Any other finding is false**, also if the fleet did something unusual that is not a fault.
- A **fault** is detected by the first evaluation in which a finding that is meant for it (``MEANT``) overlaps it and
  names one of its agents, at the latest two days after the fault's end and before the end of the two weeks. *Time to
  detection* begins with the fault's first minute, even if nothing can be seen of the fault yet.
- A fault is **countable** if it can be distinguished from chance at all. :mod:`.fleets` decides that by the way it has
  generated the fleet, and by no rule of the product. The other faults are listed as hidden.
"""
