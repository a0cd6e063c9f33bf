//! Delivers orders and documents to an ERP: one call of `run` is one attempt of one job.

const std = @import("std");
const c = @cImport(@cInclude("starter.h"));

/// The bindings free by `free` what they are given, so that it must come from `malloc`.
const allocator = std.heap.raw_c_allocator;
/// How much of a refusal stands in the job's error.
const excerpt_characters_max = 200;

const Job = c.windlass_plugin_types_job_t;
const Completion = c.windlass_plugin_types_completion_t;
const Failure = c.windlass_plugin_types_failure_t;
const Response = c.windlass_plugin_http_response_t;
const Text = c.starter_string_t;

/// The job is not completed; what it means for it has been put into the failure.
const Failed = error{Failed};

export fn exports_windlass_plugin_handler_run(job: *Job, ret: *Completion, failure: *Failure) bool {
    defer c.windlass_plugin_types_job_free(job);
    // What is not handed to the host goes when the call is over.
    var arena = std.heap.ArenaAllocator.init(allocator);
    defer arena.deinit();
    const attempt = Attempt{ .arena = arena.allocator(), .job = job, .failure = failure };
    ret.* = attempt.run() catch |failed| switch (failed) {
        error.Failed => return false,
        error.OutOfMemory => @panic("out of memory"),
    };
    return true;
}

export fn exports_windlass_plugin_metadata_describe(ret: *Text) void {
    ret.* = given(
        \\{"title": "Order delivery", "description": "Delivers orders and documents to an ERP", "version": "0.1.0",
        \\ "config": ["erp"], "secrets": ["token"]}
    );
}

const Attempt = struct {
    arena: std.mem.Allocator,
    job: *const Job,
    failure: *Failure,

    const Error = Failed || std.mem.Allocator.Error;

    fn run(self: Attempt) Error!Completion {
        const erp = try self.granted("erp");
        const token = try self.granted("token");
        if (isJson(bytes(self.job.content_type))) return self.deliverOrder(erp, token);
        try self.info("delivering a document of {d} bytes, attempt {d}", .{ self.job.payload.len, self.job.attempt });
        return completion(try self.deliver(erp, "/documents", token), null);
    }

    fn deliverOrder(self: Attempt, erp: []const u8, token: []const u8) Error!Completion {
        const order = textMember(self.arena, bytes(self.job.payload), "order") catch |wrong| {
            const message = try std.fmt.allocPrint(self.arena, "the payload is no order: {s}", .{@errorName(wrong)});
            return self.reject(message, "bad-order");
        };
        try self.info("delivering order {s}, attempt {d}", .{ order, self.job.attempt });
        const answer = try self.deliver(erp, "/orders", token);
        // The ERP promised a number. That it broke its word is nothing to handle, but something to be seen: this fails
        // the attempt, and the line is kept with it.
        const number = textMember(self.arena, bytes(answer.body), "number") catch |wrong|
            std.debug.panic("the ERP's answer names no number: {s}", .{@errorName(wrong)});
        try self.info("the ERP took order {s} as {s}", .{ order, number });
        return completion(answer, number);
    }

    /// Sends the payload as it is. Succeeds with an answer that says that it was taken.
    fn deliver(self: Attempt, erp: []const u8, path: []const u8, token: []const u8) Error!Response {
        var headers = [_]c.windlass_plugin_http_header_t{
            .{ .name = lent("content-type"), .value = self.job.content_type },
            .{ .name = lent("authorization"), .value = lent(try self.concat(&.{ "Bearer ", token })) },
            // The same over all attempts of a job, so that the ERP can recognise a repeat.
            .{ .name = lent("idempotency-key"), .value = self.job.idempotency_key },
        };
        var request = c.windlass_plugin_http_request_t{
            .method = lent("POST"),
            .url = lent(try self.concat(&.{ erp, path })),
            .headers = .{ .ptr = &headers, .len = headers.len },
            .body = self.job.payload,
        };
        var answer: Response = undefined;
        var wrong: c.windlass_plugin_http_send_error_t = undefined;
        if (!c.windlass_plugin_http_send(&request, &answer, &wrong)) return self.failByError(&wrong);
        if (answer.status >= 200 and answer.status < 300) return answer;
        defer c.windlass_plugin_http_response_free(&answer);
        return self.failByAnswer(&answer);
    }

    /// Which answers are worth another attempt, and which are final.
    fn failByAnswer(self: Attempt, answer: *const Response) Error {
        const message = try std.fmt.allocPrint(self.arena, "the ERP answered {d}", .{answer.status});
        const code = try std.fmt.allocPrint(self.arena, "http-{d}", .{answer.status});
        const delay_ms = retryAfterMs(answer);
        if (answer.status == 429 or (answer.status == 503 and delay_ms != null)) {
            return self.setback(c.WINDLASS_PLUGIN_TYPES_FAILURE_RATE_LIMITED, message, code, delay_ms);
        }
        if (answer.status == 408 or answer.status == 425 or answer.status >= 500) {
            return self.setback(c.WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN, message, code, null);
        }
        if (answer.body.len == 0) return self.reject(message, code);
        return self.reject(try self.concat(&.{ message, ": ", try self.excerpt(bytes(answer.body)) }), code);
    }

    /// What it means for the job that there is no answer.
    fn failByError(self: Attempt, wrong: *c.windlass_plugin_http_send_error_t) Failed {
        defer c.windlass_plugin_http_send_error_free(wrong);
        // All cases carry their message in the same place.
        const message = bytes(wrong.val.denied);
        const again = c.WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN;
        return switch (wrong.tag) {
            c.WINDLASS_PLUGIN_HTTP_SEND_ERROR_DENIED => self.setback(again, message, "denied", null),
            c.WINDLASS_PLUGIN_HTTP_SEND_ERROR_UNREACHABLE => self.setback(again, message, "unreachable", null),
            // The ERP may have taken it. The host tries again with the same idempotency key.
            c.WINDLASS_PLUGIN_HTTP_SEND_ERROR_UNANSWERED => self.fault(
                c.WINDLASS_PLUGIN_TYPES_FAILURE_UNKNOWN_OUTCOME,
                message,
                "unanswered",
            ),
            c.WINDLASS_PLUGIN_HTTP_SEND_ERROR_TOO_LARGE => self.reject(message, "too-large"),
            else => self.reject(message, "invalid-request"),
        };
    }

    /// The value that the operator granted under that name.
    fn granted(self: Attempt, name: []const u8) Error![]const u8 {
        var asked = lent(name);
        var value: Text = undefined;
        if (c.windlass_plugin_config_get(&asked, &value)) {
            defer c.starter_string_free(&value);
            return self.arena.dupe(u8, bytes(value));
        }
        // The operator can add it at any time, so the job is kept.
        const message = try self.concat(&.{ "the value \"", name, "\" is not granted" });
        return self.setback(c.WINDLASS_PLUGIN_TYPES_FAILURE_TRY_AGAIN, message, "not-configured", null);
    }

    fn reject(self: Attempt, message: []const u8, code: []const u8) Failed {
        return self.fault(c.WINDLASS_PLUGIN_TYPES_FAILURE_REJECT, message, code);
    }

    fn fault(self: Attempt, tag: u8, message: []const u8, code: []const u8) Failed {
        self.failure.tag = tag;
        self.failure.val.reject = .{ .message = given(message), .code = .{ .is_some = true, .val = given(code) } };
        return error.Failed;
    }

    fn setback(self: Attempt, tag: u8, message: []const u8, code: []const u8, delay_ms: ?u32) Failed {
        self.failure.tag = tag;
        self.failure.val.try_again = .{
            .message = given(message),
            .code = .{ .is_some = true, .val = given(code) },
            .delay_ms = .{ .is_some = delay_ms != null, .val = delay_ms orelse 0 },
        };
        return error.Failed;
    }

    fn info(self: Attempt, comptime format: []const u8, values: anytype) Error!void {
        var line = lent(try std.fmt.allocPrint(self.arena, format, values));
        c.windlass_plugin_log_log(c.WINDLASS_PLUGIN_LOG_LEVEL_INFO, &line);
    }

    fn concat(self: Attempt, parts: []const []const u8) Error![]const u8 {
        return std.mem.concat(self.arena, u8, parts);
    }

    /// The first characters of a body as text: U+FFFD stands for what is no UTF-8.
    fn excerpt(self: Attempt, body: []const u8) Error![]const u8 {
        // No character has more than four bytes.
        const start = body[0..@min(body.len, 4 * excerpt_characters_max)];
        const text = try std.fmt.allocPrint(self.arena, "{f}", .{std.unicode.fmtUtf8(start)});
        var characters = std.unicode.Utf8View.initUnchecked(text).iterator();
        return characters.peek(excerpt_characters_max);
    }
};

/// The job is done, with the answer as its result.
fn completion(answer: Response, number: ?[]const u8) Completion {
    var done = Completion{
        .content_type = given(header(&answer, "content-type") orelse "application/octet-stream"),
        .body = answer.body,
    };
    if (number) |text| {
        const attributes = allocator.alloc(c.windlass_plugin_types_attribute_t, 1) catch @panic("out of memory");
        attributes[0] = .{ .name = given("erp-number"), .value = given(text) };
        done.attributes = .{ .ptr = attributes.ptr, .len = attributes.len };
    }
    return done;
}

/// How long the ERP asks to be left alone, where it says so in whole seconds.
fn retryAfterMs(answer: *const Response) ?u32 {
    const value = header(answer, "retry-after") orelse return null;
    for (value) |letter| if (!std.ascii.isDigit(letter)) return null;
    const secs = std.fmt.parseUnsigned(u32, value, 10) catch |wrong|
        return if (wrong == error.Overflow) std.math.maxInt(u32) else null;
    return secs *| 1000;
}

/// The first header of that name. The host hands the names over in lower case.
fn header(answer: *const Response, name: []const u8) ?[]const u8 {
    for (answer.headers.ptr[0..answer.headers.len]) |each| {
        if (std.mem.eql(u8, bytes(each.name), name)) return bytes(each.value);
    }
    return null;
}

fn isJson(content_type: []const u8) bool {
    const name = std.mem.sliceTo(content_type, ';');
    return std.ascii.eqlIgnoreCase(std.mem.trim(u8, name, " \t"), "application/json");
}

/// A text member of a JSON object.
fn textMember(arena: std.mem.Allocator, document: []const u8, name: []const u8) ![]const u8 {
    const value = try std.json.parseFromSliceLeaky(std.json.Value, arena, document, .{});
    if (value != .object) return error.NotAnObject;
    const member = value.object.get(name) orelse return error.MemberMissing;
    return if (member == .string) member.string else error.MemberIsNoText;
}

/// The bytes of a text or of a list, where they are.
fn bytes(span: anytype) []const u8 {
    return if (span.len == 0) "" else span.ptr[0..span.len];
}

/// For the time of a call: the host only reads it.
fn lent(text: []const u8) Text {
    return .{ .ptr = @constCast(text.ptr), .len = text.len };
}

/// For good: the bindings free it.
fn given(text: []const u8) Text {
    return lent(allocator.dupe(u8, text) catch @panic("out of memory"));
}
