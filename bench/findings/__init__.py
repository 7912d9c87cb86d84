"""``python -m bench.findings``: how good the findings are, on generated fleets with generated faults.

docs/performance.md says what a fleet is. It has ten weeks of history without a fault and two weeks that are evaluated,
in which three of four fleets have faults. The product computes its findings, with its defaults, every twelve hours and
hour by hour in the first hours of a fault: a second before the hour is full, and then also after half an hour. Each
time is an *evaluation*.
Thresholds may be chosen by the tuning seeds. The held-out seeds are for the published figures, and for nothing else.

How it is scored:

- A **finding** is judged if it is a warning or critical, and its window ends in the two weeks. What several evaluations
  found of the same kind and agent (or none) is one finding if the windows overlap or touch, and its window is theirs.
- It is **true** if it overlaps a fault that its kind can detect (``MEANT`` and ``ALSO_TRUE`` in :mod:`.scoring`) and
  names one of the fault's agents, alone or among its contributors. For an outage it must concern the organization. A
  spike of the organization only needs to overlap. One of ``uncached_tokens`` is also true of an agent that was made to
  request a token per call. **Any other is false**, also if the fleet did something unusual that is not a fault: a
  holiday, a surge, a month end, a newcomer, a suspended agent. The kinds in ``OF_THE_MONTH`` are not judged.
- A **fault** is detected at the first evaluation in which a finding that is meant for it (``MEANT``) overlaps it and
  names one of its agents, at the latest two days after the fault's end and before the end of the two weeks. *Time to
  detection* begins with the fault's first minute, even if nothing can be seen of it yet, as of an agent that falls
  silent on a Friday evening.
- A fault is **countable** if it can be distinguished from chance at all. How the fleet was made decides that, and no
  rule of the product. The others are listed as hidden. Countable are:

  - a retry loop of at least three times the tokens of the agent's busiest hour of the last four weeks;
  - a leak of at least 30 tokens, and five standard deviations of the agent's own in the same hours, in some 24 hours;
  - an outage if the probability of so many quiet hours is below e^-8, where an hour of one agent counts for at most
    e^-3; and an agent that falls silent, likewise by days up to the end, because one may be a holiday;
  - a weekend run of 10 tokens;
  - an uncached client if its busiest day has 50 tokens and four times those of its busiest day before;
  - a rotated secret with 20 rejected requests within a day;
  - an agent that has requested a token per call since it joined, from 200 tokens in the first week on. If it joins in
    the two weeks, it is an uncached client. What lasts until the end (silence, an uncached client) begins in the first
    week.
- A finding also stands for the kinds in its ``alsoSeenAs``: one cause is one finding.
- With ``--situations`` a fleet also has some of what plain fleets lack (:mod:`.situations`): loops that repeat every
  week, that follow one of several days, and of newcomers. Unusual without being a fault are newcomers and many
  replicas. A finding about one of these is **benign**. It counts against precision and is reported separately.
- **Listed** findings are those of the severity ``info``. They are scored separately: faults that are at least listed,
  and false and benign findings that are listed or warnings, of an organization in a week.
"""
