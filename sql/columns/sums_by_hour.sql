-- The sums of by_hour, an array with 24 hours, over the rows of a group. A statement includes this list as {sums_by_hour}.
-- Summing the elements takes a quarter of the time of unnesting the arrays, because unnesting makes 24 rows of each row.
array[
    sum(by_hour[1]), sum(by_hour[2]), sum(by_hour[3]), sum(by_hour[4]), sum(by_hour[5]), sum(by_hour[6]),
    sum(by_hour[7]), sum(by_hour[8]), sum(by_hour[9]), sum(by_hour[10]), sum(by_hour[11]), sum(by_hour[12]),
    sum(by_hour[13]), sum(by_hour[14]), sum(by_hour[15]), sum(by_hour[16]), sum(by_hour[17]), sum(by_hour[18]),
    sum(by_hour[19]), sum(by_hour[20]), sum(by_hour[21]), sum(by_hour[22]), sum(by_hour[23]), sum(by_hour[24])
]::bigint[]
