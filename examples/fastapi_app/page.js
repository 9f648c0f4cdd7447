// What the page does. Text of people is only ever set as text, so that it cannot run.

const $ = (id) => document.getElementById(id);

// The CSRF token that the cookie holds is repeated in a header: a page of another site can do neither.
const csrf = () => document.cookie.match(/(?:^|; )(?:__Host-)?watchword-csrf=([^;]*)/)?.[1] ?? "";

async function send(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() },
    body: body && JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  $("message").textContent = response.ok ? "" : String(answer.detail);
  return response.ok ? answer ?? true : null;
}

async function show() {
  const documents = await send("GET", "/documents");
  $("sign-in").hidden = documents !== null;
  $("sign-out").hidden = $("documents").hidden = documents === null;
  const entries = (documents ?? []).map((each) => [each.id, `${each.title} ${each.text}`]);
  $("list").replaceChildren(
    ...entries.map(([, text]) => Object.assign(document.createElement("li"), { textContent: text })),
  );
  $("share").elements.id.replaceChildren(...entries.map(([id, text]) => new Option(text, id)));
}

function on(form, act) {
  $(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.target));
    if (await act(fields, event.submitter)) await show();
  });
}

on("sign-in", (fields) => send("POST", "/session", fields));
on("sign-out", () => send("DELETE", "/session"));
on("create", (fields) => send("POST", "/documents", fields));
on("share", ({ id, name, relation }, button) =>
  send(button.value, `/documents/${id}/shares/${encodeURIComponent(name)}`, { relation }),
);
show();
