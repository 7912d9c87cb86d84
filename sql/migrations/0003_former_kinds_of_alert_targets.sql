-- Findings of the kinds peak and zero_day are no longer opened. A target for the kind zero_day gets the kind silence instead, which
-- reports the same outages. A target for only the kind peak is disabled, because a target without kinds receives every kind.
update alert_targets
set
    enabled = enabled and kinds <> array['peak'],
    kinds = nullif(
        array_remove(
            case
                when 'silence' = any (kinds) then array_remove(kinds, 'zero_day')
                else array_replace(kinds, 'zero_day', 'silence')
            end,
            'peak'
        ),
        '{}'
    )
where kinds && array['peak', 'zero_day']
