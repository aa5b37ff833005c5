// Server-Sent Events of a fetched reply: EventSource can send no Authorization header.

// Yields {event, data} for each event and {comment} for each comment. `onBytes` is told whenever something comes.
export async function* events(reply, onBytes = () => {}) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let found = blank();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith(":")) {
          yield { comment: line.slice(1).trim() };
        } else if (line !== "") {
          take(found, line);
        } else if (found.data.length) {
          yield { event: found.event, data: found.data.join("\n") };
          found = blank();
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const blank = () => ({ event: "message", data: [] });

function take(found, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (field === "data") found.data.push(value);
  if (field === "event") found.event = value;
}
