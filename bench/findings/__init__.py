"""``python -m bench.findings``: measures how good the findings are, on generated fleets with generated faults.

docs/performance.md describes a fleet. Ten weeks of history without a fault are followed by two weeks that are
evaluated, in which three of four fleets have faults. The fleets are counted in a throw-away PostgreSQL. The product
computes its findings with its defaults every twelve hours, and every half hour in the first hours of a fault.
Thresholds may be chosen by the tuning seeds. The held-out seeds are for the published figures only.

How findings and faults are scored:

- A **finding** is judged if it is a warning or critical, and its window ends in the two weeks. Findings of the same
  kind and agent (or of no agent) are one finding if their windows overlap or touch. A finding also stands for the kinds
  in its ``alsoSeenAs``. The kinds in ``NOT_JUDGED`` are not judged.
- It is **true** if it overlaps a fault that its kind can detect (``MEANT`` and ``ALSO_TRUE`` in :mod:`.scoring`) and
  names one of the fault's agents, alone or among its contributors. During an outage it must concern the organization.
  ``uncached_tokens`` is also true of an agent that was generated to request a token per call. It is only listed.
  **Any other finding is false**, also if the fleet did something unusual that is not a fault.
- A **fault** is detected by the first evaluation in which a finding that is meant for it (``MEANT``) overlaps it and
  names one of its agents, at the latest two days after the fault's end and before the end of the two weeks. *Time to
  detection* begins with the fault's first minute, even if nothing can be seen of the fault yet.
- A fault is **countable** if it can be distinguished from chance at all. The way the fleet was generated decides that,
  and no rule of the product. The other faults are listed as hidden. Countable are:

  - a retry loop of at least three times the tokens of the agent's busiest hour of the last four weeks;
  - a leak of at least 30 tokens, and five standard deviations of the agent's own in the same hours, in some 24 hours;
  - an outage if the probability of so many quiet hours is below e^-8, where an hour of one agent counts for at most
    e^-3; and a silent agent, likewise by days up to the end, because one may be a holiday;
  - a weekend run of 10 tokens;
  - an uncached client if its busiest day has 50 tokens and four times those of its busiest day before;
  - a rotated secret with 20 rejected requests within a day;
  - an agent that has requested a token per call since it joined, from 200 tokens in the first week on. A fault that
    lasts until the end (silence, an uncached client) begins in the first week.
- **Listed** findings have any severity, ``info`` included. They are scored separately.
"""
