# Print the line of the input that somebody meant who wrote `word`, if one is nearer than all others.
#
# usage: awk -v word=WORD -f nearest.awk
#
# The distance is the number of letters to insert, leave out, replace, or swap with the next one (as in
# libimg/text/guess.c).
function least(a, b) { return a < b ? a : b }
function distance(a, b,    i, j, d) {
    for (i = 0; i <= length(a); i++)
        d[i, 0] = i
    for (j = 0; j <= length(b); j++)
        d[0, j] = j
    for (i = 1; i <= length(a); i++)
        for (j = 1; j <= length(b); j++) {
            d[i, j] = least(least(d[i - 1, j], d[i, j - 1]) + 1,
                            d[i - 1, j - 1] + (substr(a, i, 1) != substr(b, j, 1)))
            if (i > 1 && j > 1 && substr(a, i, 1) == substr(b, j - 1, 1) && substr(a, i - 1, 1) == substr(b, j, 1))
                d[i, j] = least(d[i, j], d[i - 2, j - 2] + 1)
        }
    return d[length(a), length(b)]
}
BEGIN { most = length(word) < 3 ? 0 : length(word) < 6 ? 1 : 2 }
{
    far = distance(word, $0)
    if (far > most || (best != "" && far > nearest))
        next
    tied = best != "" && far == nearest
    best = $0
    nearest = far
}
END {
    if (best != "" && !tied)
        print best
}
