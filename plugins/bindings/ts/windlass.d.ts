// What a plugin can import and must export, as TypeScript: the world `starter` of wit/plugin.wit, which says more of
// each. Written by hand; the package only grows, so that what stands here stays true.

declare module "windlass:plugin/types@0.1.0" {
  /** One named value. */
  export interface Attribute {
    name: string;
    value: string;
  }

  /** A unit of work, as one attempt sees it. */
  export interface Job {
    /** The same over all attempts. */
    id: string;
    /** Which attempt this is. The first is 1. */
    attempt: number;
    maxAttempts: number;
    /** The same over all attempts of a job: by it the downstream recognises a repeat. */
    idempotencyKey: string;
    contentType: string;
    payload: Uint8Array;
    /** RFC 3339 in UTC. */
    enqueuedAt: string;
    remainingMs: number;
    attributes: Attribute[];
  }

  /** The work is done. */
  export interface Completion {
    contentType: string;
    body: Uint8Array;
    attributes: Attribute[];
  }

  /** Why the work is not done, where another attempt can help. */
  export interface Setback {
    message: string;
    code: string | null;
    /** How long the downstream asked to be left alone. */
    delayMs: number | null;
  }

  /** Why the work is not done, where the moment plays no part. */
  export interface Fault {
    message: string;
    code: string | null;
  }

  /** What `run` throws where the job is not completed. */
  export type Failure =
    | { tag: "try-again"; val: Setback }
    | { tag: "rate-limited"; val: Setback }
    | { tag: "reject"; val: Fault }
    | { tag: "unknown-outcome"; val: Fault };
}

declare module "windlass:plugin/handler@0.1.0" {
  import type { Completion, Job } from "windlass:plugin/types@0.1.0";

  /** What every plugin exports as `handler`. `run` returns a completion or throws a `Failure`. */
  export interface Handler {
    run(job: Job): Completion;
  }
}

declare module "windlass:plugin/metadata@0.1.0" {
  /** What a plugin exports as `metadata`. */
  export interface Metadata {
    /** JSON: what the plugin is, and what it asks for. */
    describe(): string;
  }
}

declare module "windlass:plugin/config@0.1.0" {
  const config: {
    /** The value or the secret of that name, or null where the operator gave none. */
    get(name: string): string | null;
  };
  export default config;
}

declare module "windlass:plugin/log@0.1.0" {
  const log: {
    /** Keeps a line with the attempt. */
    log(level: "debug" | "info" | "warn" | "error", message: string): void;
  };
  export default log;
}

declare module "windlass:plugin/http@0.1.0" {
  export interface Header {
    name: string;
    value: string;
  }

  export interface Request {
    method: string;
    url: string;
    headers: Header[];
    body: Uint8Array;
    timeoutMs: number | null;
  }

  export interface Response {
    status: number;
    /** In the order in which they came, names in lower case. */
    headers: Header[];
    body: Uint8Array;
  }

  /** A response, or as much of it as the host allows. */
  export interface BoundedResponse {
    response: Response;
    /** Headers are missing; those that are there are whole. */
    headersTruncated: boolean;
    /** The body is only the beginning of the answer's. */
    bodyTruncated: boolean;
  }

  /** The `payload` of what `send` and `sendBounded` throw. */
  export interface SendError {
    tag: "denied" | "invalid" | "unreachable" | "unanswered" | "too-large";
    /** One line for people. */
    val: string;
  }

  const http: {
    /** Sends a request and waits for the whole answer. Follows no redirect and repeats nothing. */
    send(request: Request): Response;
    /** The same, but an answer that is larger than the host allows is cut: its status is known then. */
    sendBounded(request: Request): BoundedResponse;
  };
  export default http;
}
