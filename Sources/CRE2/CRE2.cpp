#include "CRE2.h"

#include <re2/re2.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

struct cre2_pattern {
    RE2 compiled;
    cre2_pattern(re2::StringPiece expression, const RE2::Options &options) : compiled(expression, options) {}
};

static re2::StringPiece piece(const void *bytes, size_t length) {
    return re2::StringPiece(static_cast<const char *>(bytes), length);
}

extern "C" {

cre2_pattern *cre2_compile(const void *expression, size_t length, int64_t memory) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(memory);
    return new cre2_pattern(piece(expression, length), options);
}

void cre2_delete(cre2_pattern *pattern) { delete pattern; }

const char *cre2_error(const cre2_pattern *pattern) {
    return pattern->compiled.ok() ? nullptr : pattern->compiled.error().c_str();
}

int cre2_program_size(const cre2_pattern *pattern) { return pattern->compiled.ProgramSize(); }

int cre2_groups(const cre2_pattern *pattern) { return pattern->compiled.NumberOfCapturingGroups(); }

int cre2_matches_whole(const cre2_pattern *pattern, const void *text, size_t length) {
    return RE2::FullMatch(piece(text, length), pattern->compiled);
}

int cre2_matches_part(const cre2_pattern *pattern, const void *text, size_t length) {
    return RE2::PartialMatch(piece(text, length), pattern->compiled);
}

int cre2_find(const cre2_pattern *pattern, const void *text, size_t length, int64_t *places, int groups) {
    std::vector<re2::StringPiece> found(groups);
    if (!pattern->compiled.Match(piece(text, length), 0, length, RE2::UNANCHORED, found.data(), groups)) return 0;
    for (int group = 0; group < groups; group++) {
        const char *start = found[group].data();
        places[2 * group] = start ? start - static_cast<const char *>(text) : -1;
        places[2 * group + 1] = start ? static_cast<int64_t>(found[group].size()) : -1;
    }
    return 1;
}

int cre2_replace_all(
    const cre2_pattern *pattern, const void *text, size_t length, const void *rewrite, size_t rewrite_length,
    char **result, size_t *result_length) {
    std::string error;
    if (!pattern->compiled.CheckRewriteString(piece(rewrite, rewrite_length), &error)) return -1;
    std::string changed(static_cast<const char *>(text), length);
    int count = RE2::GlobalReplace(&changed, pattern->compiled, piece(rewrite, rewrite_length));
    *result = static_cast<char *>(std::malloc(changed.size() + 1));
    if (!*result) return -1;
    std::memcpy(*result, changed.data(), changed.size());
    *result_length = changed.size();
    return count;
}

void cre2_free(char *result) { std::free(result); }

}  // extern "C"
