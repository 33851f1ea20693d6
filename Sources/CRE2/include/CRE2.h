#pragma once
// RE2 behind a C interface. Every expression is compiled once and may be used from any thread.
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cre2_pattern cre2_pattern;

// Never NULL: ask cre2_error. `memory` bounds the compiled forms, in bytes.
cre2_pattern *cre2_compile(const void *expression, size_t length, int64_t memory);
void cre2_delete(cre2_pattern *pattern);
// NULL where the expression is sound. Valid as long as the pattern.
const char *cre2_error(const cre2_pattern *pattern);
// The size of the program, as Envoy's bound on expressions counts it.
int cre2_program_size(const cre2_pattern *pattern);
int cre2_groups(const cre2_pattern *pattern);
int cre2_matches_whole(const cre2_pattern *pattern, const void *text, size_t length);
int cre2_matches_part(const cre2_pattern *pattern, const void *text, size_t length);
// Groups of the first match, the whole match first: offset and length each, -1 for a group that took no part.
// Returns 0 where nothing matches.
int cre2_find(const cre2_pattern *pattern, const void *text, size_t length, int64_t *places, int groups);
// Replaces every match; `\1` in `rewrite` stands for a group. Returns the number of replacements, -1 where `rewrite`
// asks for a group that is not there. The result is the caller's, to be freed with cre2_free.
int cre2_replace_all(
    const cre2_pattern *pattern, const void *text, size_t length, const void *rewrite, size_t rewrite_length,
    char **result, size_t *result_length);
void cre2_free(char *result);

#ifdef __cplusplus
}
#endif
