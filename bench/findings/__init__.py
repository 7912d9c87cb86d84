"""``python -m bench.findings``: how good the findings are, on made-up fleets with faults put into them.

A fleet is an organization of 5 to 60 agents (:mod:`.fleets`): office hours of three continents, services for customers,
constant machines, jobs by the clock, sparse and bursty ones; one instance or several that keep their tokens for their
lifetime, or a token for each job; growth, releases, surges, maintenance, month ends, newcomers, agents suspended and
deleted, public holidays, summer time, and now and then a rejected request. It has ten weeks of history without a fault
and two weeks that are evaluated, in which three of four fleets have faults. Its usage is counted in a PostgreSQL, or
with ``--in-memory`` in lists, which takes half the time. The product's own findings, with its defaults, are looked at
every twelve hours and in the first hours of a fault: a second before the hour is full and half-way. The tuning seeds
are those by which thresholds may be chosen; the held-out ones are for the figures that are published, and for nothing
else.

How it is scored:

- A **finding** is judged if it is a warning or critical, and its window ends in the evaluated span. Sightings of the
  same kind and agent (or none) whose windows overlap or touch are one finding, whose window is all of theirs together.
- It is **true** if it overlaps a fault that its kind can tell (``MEANT`` and ``ALSO_TRUE`` in :mod:`.scoring`) and
  names one of the fault's agents, alone or among those behind it; for an outage it must concern the organization. A
  spike of the organization needs to overlap only. One of ``uncached_tokens`` is also true of an agent that by its
  making does not keep its tokens. **Any other is false**, also where the fleet did something unusual that is not a
  fault: a holiday, a surge, a month end, a newcomer, a suspended agent. ``dominance``, ``budget`` and ``peak`` state
  something of the month or the week and are not judged; dominance is compared with the sums of the month at every look
  instead.
- A **fault** is told at the first look in which a finding that is meant for it (``MEANT``) overlaps it and names one of
  its agents, at the latest two days after the fault's end and before the span's. *Time to detection* runs from the
  fault's first minute, also where nothing can be seen of it yet, as of an agent that falls silent on a Friday evening.
- A fault is **countable** if it can be told from chance at all, by the fleet's own making and not by any rule of the
  product's; the others are listed as hidden. A retry loop: at least three times the tokens of the agent's fullest hour
  of the last four weeks. A leak: in some 24 hours at least 30 tokens, and five standard deviations of the agent's own
  in the same hours. An outage: the probability of so many quiet hours is below e^-8, no hour of one agent counting for
  less than e^-3. An agent that falls silent: likewise up to the span's last day, no day counting for less than e^-3,
  since one may be a holiday. A weekend run: 10 tokens. An uncached client: in its fullest day 50 tokens and four times
  those of its fullest day before. A rotated secret: 20 rejected requests within a day. An agent that has asked for a
  token per call since it joined: 200 tokens in the span's first week; where it joins in the span, that is an uncached
  client. What goes on to the end of the span (silence, an uncached client) begins in its first week.
- A finding stands for the kinds in its ``alsoSeenAs`` too: one cause is one finding.
- With ``--situations`` a fleet also has some of what plain fleets lack (:mod:`.situations`): loops that repeat every
  week, that follow one of several days, that run at night, of newcomers, and with a backoff; a second client that
  doubles an agent's tokens; a part of the fleet that is silent; and, unusual without being a fault, batch backfills,
  blue-green deployments, many replicas, agents replaced by others, webhooks whose bursts have a heavy tail, newcomers.
  A finding about one of the latter is **benign**; it counts against precision and is reported apart.
- **Listed** findings are those of the severity ``info``. They are scored apart: faults that are at least listed, and
  false and benign ones that are listed or warned of, of an organization in a week.
- The **naive rule** to compare with: an agent's or the organization's UTC day so far is above three times its
  yesterday's. It is judged as a ``spike``.
"""
