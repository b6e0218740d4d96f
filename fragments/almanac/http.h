// How a fragment written in C is asked for its HTML, and answers. `answer` is all that it has to have.

#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// An answer. The text is collected with `print` and `print_text`; its memory is given back by `http.c`.
struct answer {
    int status;
    const char *content_type;
    const char *cache_control;
    char *text;
    size_t length, room;
};

// Answers a request for a path. It begins as a 200 of `text/html` without a word about caching.
void answer(const char *path_with_query, struct answer *answer);

// Adds formatted text: %s, %c, %d, %u and %zu, with a width that is filled with zeros or blanks, as in %02d.
void print(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Adds text that is not HTML: `<`, `>`, `&` and quotes are escaped.
void print_text(struct answer *answer, const char *text);

// Finds a parameter in the query, without its percent-encoding. `false`: it is not there, or too long.
bool parameter(const char *path_with_query, const char *name, char *value, size_t room);

// The last part of the path, without its percent-encoding. `false`: it is too long.
bool last_part(const char *path_with_query, char *value, size_t room);

// Refuses the request, with the reason for whoever reads the log (RFC 9457). It must not contain quotes.
void refuse(struct answer *answer, int status, const char *why);

// Writes a line to the log of the compositor.
void say(const char *text);

// The time, in seconds since 1970.
uint64_t now(void);

#endif
