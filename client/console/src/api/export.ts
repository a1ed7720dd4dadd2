// An export as a file that `sessions import` and `SessionData.from_json` read.

import { ScalarType, toJson, type DescField, type DescMessage } from "@bufbuild/protobuf";
import { ExportRecordSchema } from "../proto/sessions/v1/sessions_pb";
import { sessions } from "./client";
import { isContainer, type Json } from "../lib/json";

const FORMAT = "sessions.v1.export";
const INTEGERS: readonly ScalarType[] = [ScalarType.INT64, ScalarType.UINT64, ScalarType.SINT64];

/** Reads the whole export, which fails if it is cut short, and offers it as a download. Returns the number of records. */
export async function download(id: string): Promise<number> {
  const records: string[] = [];
  for await (const { record } of sessions.exportSession({ sessionId: id })) {
    if (!record) continue;
    const json = toJson(ExportRecordSchema, record, { useProtoFieldName: true }) as Json;
    records.push(JSON.stringify(withIntegers(ExportRecordSchema, json)));
  }
  const parts = [`{"format": "${FORMAT}", "records": [\n`, records.join(",\n"), "\n]}\n"];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type: "application/json" }));
  link.download = `${id.replaceAll(":", "_")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return records.length;
}

/** The file has 64-bit integers as JSON integers, where ProtoJSON writes strings. All of them are below 2^53. */
function withIntegers(message: DescMessage, json: Json): Json {
  if (!isContainer(json) || Array.isArray(json) || message.typeName.startsWith("google.protobuf.")) return json;
  const fields = new Map(message.fields.map((field) => [field.name, field]));
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => {
      const field = fields.get(name);
      return [name, field ? fieldWithIntegers(field, value) : value];
    }),
  );
}

function fieldWithIntegers(field: DescField, value: Json): Json {
  if (Array.isArray(value) && field.fieldKind === "list")
    return field.message ? value.map((each) => withIntegers(field.message as DescMessage, each)) : value;
  if (field.fieldKind === "message") return withIntegers(field.message, value);
  if (field.fieldKind === "scalar" && INTEGERS.includes(field.scalar)) return Number(value);
  return value;
}
