// The message of a failed call, and the field that it belongs to.

import { Code, ConnectError } from "@connectrpc/connect";

export interface Problem {
  /** What is wrong, then what to do. */
  message: string;
  /** A name from ErrorReason, such as `ETAG_MISMATCH`; empty if the call never reached the service. */
  reason: string;
  metadata: Record<string, string>;
  /** The sentence for each invalid field of the request. */
  violations: Violation[];
  code: Code;
}

interface Violation {
  field: string;
  description: string;
}

interface ErrorInfo {
  reason: string;
  metadata?: Record<string, string>;
}

interface BadRequest {
  fieldViolations?: Violation[];
}

export function toProblem(error: unknown): Problem {
  const failure = ConnectError.from(error);
  const info = detail<ErrorInfo>(failure, "google.rpc.ErrorInfo");
  const bad = detail<BadRequest>(failure, "google.rpc.BadRequest");
  return {
    message: info ? failure.rawMessage : transportMessage(failure),
    reason: info?.reason ?? "",
    metadata: info?.metadata ?? {},
    violations: bad?.fieldViolations ?? [],
    code: failure.code,
  };
}

/** The sentences about one field and those below it; null if there are none. */
export function violationAt(problem: Problem | null, ...fields: string[]): string | null {
  const found = problem?.violations.filter(({ field }) =>
    fields.some((name) => field === name || field.startsWith(`${name}.`) || field.startsWith(`${name}[`)),
  );
  if (!found || found.length === 0) return null;
  return found.map(({ description }) => capitalised(description)).join(" ");
}

function capitalised(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** Whether retrying later may help: the service was not reached, or is stopping. */
export function isPassing(problem: Problem): boolean {
  return problem.reason === ""
    ? problem.code !== Code.Unauthenticated && problem.code !== Code.PermissionDenied
    : problem.code === Code.Unavailable;
}

function transportMessage(failure: ConnectError): string {
  if (failure.code === Code.DeadlineExceeded) return "The server took too long. Try again.";
  if (failure.code === Code.Unauthenticated) return "The server requires a token. Paste one to continue.";
  return "The server cannot be reached. It may be restarting; the console tries again by itself.";
}

/** A detail in the JSON form that the server adds to its bytes. */
function detail<T>(failure: ConnectError, type: string): T | null {
  for (const each of failure.details) {
    if ("type" in each && each.type === type && each.debug) return each.debug as T;
  }
  return null;
}
