// An export as a file that `sessions import` and `SessionData.from_json` read.

import { toJson } from "@bufbuild/protobuf";
import { ExportRecordSchema } from "../proto/sessions/v1/sessions_pb";
import { sessions } from "./client";

const FORMAT = "sessions.v1.export";

/** Reads the whole export and hands it to the browser as a download. Returns how many records it has. */
export async function download(id: string): Promise<number> {
  const records: string[] = [];
  let whole = false;
  for await (const { record } of sessions.exportSession({ sessionId: id })) {
    if (!record) continue;
    whole = record.record.case === "footer";
    records.push(JSON.stringify(toJson(ExportRecordSchema, record)));
  }
  if (!whole) throw new Error("The export was cut short. Try again.");
  const parts = [`{"format": "${FORMAT}", "records": [\n`, records.join(",\n"), "\n]}\n"];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
  link.download = `${id.replaceAll(":", "_")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return records.length;
}
