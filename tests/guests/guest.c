// A component for the tests: it does what it is asked for by the path, mostly what no component should do.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fragment.h"

// Everything that is done well is done by the file that all components in C have.
#define exports_wasi_http_incoming_handler_handle handle_well
#include "../../fragments/almanac/http.c"
#undef exports_wasi_http_incoming_handler_handle

extern char **environ;

static int calls;

static bool is(const char *path, const char *name) {
    size_t length = strcspn(path, "?");
    return strlen(name) == length && memcmp(path, name, length) == 0;
}

static volatile unsigned long spent;

static void compute(unsigned long rounds) {
    for (unsigned long i = 0; i < rounds; i++) spent = spent * 31 + i;
}

static int deep(int level) {
    if (level < 0) return 0;
    volatile char frame[256];
    frame[level % 256] = (char)level;
    return deep(level + 1) + frame[(level + 1) % 256];
}

// Sends a request to a host, and prints the status, or which error it is.
static void ask(struct answer *it, const char *scheme, const char *authority, const char *path) {
    wasi_http_types_own_outgoing_request_t request =
        wasi_http_types_constructor_outgoing_request(wasi_http_types_constructor_fields());
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_scheme_t kind;
    kind.tag = strcmp(scheme, "https") == 0 ? WASI_HTTP_TYPES_SCHEME_HTTPS : WASI_HTTP_TYPES_SCHEME_HTTP;
    fragment_string_t host = string(authority), where = string(path);
    wasi_http_types_method_outgoing_request_set_scheme(borrowed, &kind);
    wasi_http_types_method_outgoing_request_set_authority(borrowed, &host);
    wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &where);
    wasi_http_types_own_future_incoming_response_t future;
    wasi_http_types_error_code_t error;
    if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) {
        print(it, "refused with %d", error.tag);
        return;
    }
    wasi_http_types_borrow_future_incoming_response_t pending =
        wasi_http_types_borrow_future_incoming_response(future);
    wasi_http_types_own_pollable_t pollable = wasi_http_types_method_future_incoming_response_subscribe(pending);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
    wasi_io_poll_pollable_drop_own(pollable);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t result;
    if (!wasi_http_types_method_future_incoming_response_get(pending, &result) || result.is_err) {
        print(it, "no result");
    } else if (result.val.ok.is_err) {
        print(it, "failed with %d", result.val.ok.val.err.tag);
    } else {
        wasi_http_types_own_incoming_response_t response = result.val.ok.val.ok;
        print(it, "status %d",
              wasi_http_types_method_incoming_response_status(wasi_http_types_borrow_incoming_response(response)));
    }
}

void answer(const char *path, struct answer *it) {
    char value[256], scheme[16] = "http";
    if (is(path, "/count")) {
        print(it, "<p>call %d</p>", ++calls);
    } else if (is(path, "/loop")) {
        for (;;) compute(1000000);
    } else if (is(path, "/work")) {
        if (parameter(path, "rounds", value, sizeof value)) compute(strtoul(value, NULL, 10));
        print(it, "<p>worked</p>");
    } else if (is(path, "/grow")) {
        for (;;) {
            volatile char *more = malloc(1 << 20);
            if (more == NULL) abort();
            for (size_t at = 0; at < 1 << 20; at += 4096) more[at] = 1;
        }
    } else if (is(path, "/trap")) {
        fprintf(stderr, "about to trap\n");
        __builtin_trap();
    } else if (is(path, "/exit")) {
        exit(7);
    } else if (is(path, "/deep")) {
        print(it, "%d", deep(0));
    } else if (is(path, "/resources")) {
        for (;;) wasi_http_types_constructor_fields();
    } else if (is(path, "/env")) {
        for (char **variable = environ; variable && *variable; variable++) {
            print_text(it, *variable);
            print(it, " ");
        }
        print(it, ".");
    } else if (is(path, "/file")) {
        FILE *file = fopen("/etc/passwd", "r");
        print(it, file != NULL ? "opened" : "cannot be opened");
        FILE *made = fopen("made.txt", "w");
        print(it, made != NULL ? ", made" : ", cannot be made");
    } else if (is(path, "/says")) {
        printf("to standard output\n");
        fprintf(stderr, "to standard error\n");
        fflush(stdout);
        print(it, "<p>said</p>");
    } else if (is(path, "/noise")) {
        for (int i = 0; i < 300; i++) printf("line %d\n", i);
        fflush(stdout);
        print(it, "<p>noise</p>");
    } else if (is(path, "/ask")) {
        parameter(path, "scheme", scheme, sizeof scheme);
        if (parameter(path, "host", value, sizeof value)) ask(it, scheme, value, "/asked");
    } else if (is(path, "/big")) {
        for (int i = 0; i < 5000; i++) print(it, "<p>%014d</p>\n", i);
    } else if (is(path, "/status")) {
        it->status = 500;
        print(it, "<p>broken</p>");
    } else {
        const char *greeting = getenv("GREETING");
        print(it, "<p>%s ", greeting ? greeting : "Hello");
        print_text(it, path);
        print(it, "</p>");
    }
}

// Sends the head and some of the body, and no end.
static wasi_http_types_own_output_stream_t begin(wasi_http_types_own_response_outparam_t out,
                                                 wasi_http_types_own_outgoing_body_t *body) {
    wasi_http_types_own_fields_t headers = wasi_http_types_constructor_fields();
    append(headers, "content-type", "text/html");
    wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(headers);
    if (!wasi_http_types_method_outgoing_response_body(wasi_http_types_borrow_outgoing_response(response), body)) abort();
    wasi_http_types_result_own_outgoing_response_error_code_t result;
    result.is_err = false;
    result.val.ok = response;
    wasi_http_types_static_response_outparam_set(out, &result);
    wasi_http_types_own_output_stream_t stream;
    if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(*body), &stream)) abort();
    return stream;
}

static bool write_half(wasi_http_types_own_output_stream_t stream) {
    fragment_list_u8_t chunk = bytes("<p>half");
    wasi_io_streams_stream_error_t error;
    return wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream),
                                                                         &chunk, &error);
}

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    fragment_string_t asked;
    char path[64] = "";
    if (wasi_http_types_method_incoming_request_path_with_query(wasi_http_types_borrow_incoming_request(request),
                                                                &asked)) {
        memcpy(path, asked.ptr, asked.len < 63 ? asked.len : 63);
    }
    wasi_http_types_own_outgoing_body_t body;
    if (is(path, "/none")) {
        wasi_http_types_incoming_request_drop_own(request);
        wasi_http_types_response_outparam_drop_own(out);
    } else if (is(path, "/half")) {
        write_half(begin(out, &body));
        __builtin_trap();
    } else if (is(path, "/unfinished")) {
        wasi_http_types_own_output_stream_t stream = begin(out, &body);
        write_half(stream);
        wasi_io_streams_output_stream_drop_own(stream);
        wasi_http_types_outgoing_body_drop_own(body);
    } else if (is(path, "/endless")) {
        wasi_http_types_own_output_stream_t stream = begin(out, &body);
        while (write_half(stream)) {}
    } else if (is(path, "/stalls")) {
        write_half(begin(out, &body));
        for (;;) compute(1000000);
    } else if (is(path, "/after")) {
        handle_well(request, out);
        for (;;) compute(1000000);
    } else {
        handle_well(request, out);
    }
}
