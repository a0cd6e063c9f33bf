//! The table of limits: name, type, default, range, unit, meaning, and what happens at the limit. The settings, their
//! checks, what a plugin's file may narrow, the API's document and `docs/limits.md` are all made from it.

/// Hands the table to another macro. `own` limits are each plugin's to narrow, `follow` ones are those whose default is
/// made of two others, `host` ones hold for the whole host.
macro_rules! limits_table {
    ($use:ident) => {
        $use! {
            own {
                deadline: TimeSpan, "30s", "10ms", "24h",
                    "Wall time of one attempt.",
                    "The outcome `deadline`.";
                cpu: TimeSpan, "5s", "10ms", "24h",
                    "Time inside the guest.",
                    "The outcome `cpu-budget`.";
                memory: ByteSize, "64MiB", "1MiB", "4GiB",
                    "All memories and tables of the attempt together, and what its instance and what it holds by `wasi:http` take of the host beside them, each beyond its first MiB.",
                    "The outcome `memory`; a component whose instance alone takes more is not loaded.";
                instances: u32, "64", "1", "1000",
                    "Core instances in the component.",
                    "The component is not loaded; where only the plugin's file is narrower, the outcome `start`.";
                memories: u32, "4", "1", "64",
                    "Memories in the component.",
                    "As for `instances`.";
                tables: u32, "48", "1", "1000",
                    "Tables in the component.",
                    "As for `instances`.";
                calls: u32, "1000000", "1000", "4000000000",
                    "Calls of the guest to the host, those of WASI among them.",
                    "The outcome `host-calls`, at the guest's next turn.";
                call_bytes: ByteSize, "256MiB", "64KiB", "1024GiB",
                    "Bytes through calls: log, output, values, requests and responses with their headers, randomness.",
                    "The outcome `host-calls`, at the guest's next turn.";
                handles: u32, "512", "64", "100000",
                    "Handles that are held at once: streams, polls, headers, requests, responses. A timer that is polled takes two.",
                    "The outcome `host-calls`.";
                random: ByteSize, "64KiB", "256B", "64MiB",
                    "Random bytes in one call.",
                    "The outcome `host-calls`.";
                random_total: ByteSize, "16MiB", "256B", "1024GiB",
                    "Random bytes in all.",
                    "The outcome `host-calls`.";
                requests: u32, "16", "1", "256",
                    "Requests that are out at the same time.",
                    "The request is refused: `invalid`, in `wasi:http` an internal error.";
                requests_total: u32, "1000", "1", "1000000",
                    "Requests in all, those that are refused among them.",
                    "The request is refused: `invalid`, in `wasi:http` an internal error.";
                request: ByteSize, "8MiB", "0B", "1GiB",
                    "The body of one request.",
                    "The request is refused: `invalid`; a body that is streamed breaks off.";
                response: ByteSize, "8MiB", "1KiB", "1GiB",
                    "The body of one response.",
                    "The guest is told `too-large`, or given as much as fits, as it asked.";
                headers: ByteSize, "64KiB", "1KiB", "128KiB",
                    "All headers of one request or response, names and values.",
                    "A request is refused: `invalid`; for a response as for `response`.";
                header_count: u32, "128", "8", "256",
                    "Headers of one request or response.",
                    "As for `headers`.";
                exchanges: u32, "100", "0", "10000",
                    "Requests that are kept with the attempt.",
                    "Later ones are made and not kept; the attempt says how many (`exchanges_dropped`).";
                output: ByteSize, "256KiB", "0B", "64MiB",
                    "Log lines and output that are kept with the attempt.",
                    "Cut; the attempt says how much (`log_dropped_bytes`).";
                log_lines: u32, "4096", "0", "1000000",
                    "Lines of log and output that are kept with the attempt.",
                    "Cut; the attempt says how many (`log_dropped_lines`).";
                error_text: ByteSize, "2KiB", "64B", "64KiB",
                    "The message of a failure.",
                    "Cut, with `…` at its end.";
                error_code: ByteSize, "64B", "8B", "255B",
                    "The code of a failure.",
                    "Cut, with `…` at its end.";
                attributes: u32, "64", "0", "10000",
                    "Attributes of a result.",
                    "As for `result`.";
                payload: ByteSize, "1MiB", "1KiB", "256MiB",
                    "The payload of a job.",
                    "The job is not accepted: 413."
            }
            follow {
                result: ByteSize, payload, response, "1KiB", "256MiB",
                    "The result of a job, its attributes included.",
                    "The outcome `result-too-large`: the work is done and is not repeated, the job is discarded."
            }
            host {
                concurrency: u32, "256", "1", "10000",
                    "Attempts at once in this host.",
                    "Jobs wait (`concurrency`).";
                table_elements: u32, "100000", "1000", "10000000",
                    "Elements of one table. Each takes 8 bytes of `memory`.",
                    "The component is not loaded; growing a table answers −1.";
                describe: ByteSize, "256KiB", "1KiB", "4MiB",
                    "What a plugin says of itself, its payload schema included.",
                    "It is not used; `description_error` and the log say so."
            }
        }
    };
}
