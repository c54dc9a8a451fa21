// The list is kept up to date by asking once a second for what is new.

const shown = 500; // newest mails in the list
const views = ["html", "text", "headers", "source"];
const at = (id) => document.getElementById(id);

let items = []; // oldest first
let total = -1; // mails held; below 0 while not known
let current = null; // id of the mail that is open
let view = "html";

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function refresh() {
  const status = await (await get("status")).json();
  const last = items.length ? items[items.length - 1].id : "0";
  if (status.last === last && status.count === total) return;
  if (status.count === 0 || BigInt(status.first) > BigInt(last)) items = [];
  if (status.count > 0) {
    const after = items.length ? last : "0";
    items.push(...(await (await get(`messages?after=${after}&limit=${shown}`)).json()).items);
    items = items.filter((item) => BigInt(item.id) >= BigInt(status.first)).slice(-shown);
  }
  total = status.count;
  drawList();
}

async function poll() {
  try {
    if (!document.hidden) await refresh();
  } catch {
    at("count").textContent = "not connected";
    total = -1; // so that the next answer draws it again
  }
  setTimeout(poll, 1000);
}

function drawList() {
  const wanted = at("filter").value.trim().toLowerCase();
  const found = items.filter((item) => [item.subject, item.from, ...item.to].join("\n").toLowerCase().includes(wanted));
  at("list").replaceChildren(...found.reverse().map(row));
  at("count").textContent = total === 1 ? "1 mail" : `${Math.max(total, 0).toLocaleString()} mails`;
  at("empty").hidden = total !== 0;
  at("more").hidden = total <= items.length;
  at("more").textContent = `These are the newest ${items.length}.`;
  document.title = total ? `Mail (${total})` : "Mail";
  if (total === 0) close();
}

function row(item) {
  const button = document.createElement("button");
  button.type = "button";
  if (item.id === current) button.setAttribute("aria-current", "true");
  const received = new Date(item.received_at);
  const today = received.toDateString() === new Date().toDateString();
  button.append(
    element("time", today ? received.toLocaleTimeString() : received.toLocaleDateString()),
    element("strong", item.subject || "(no subject)"),
    element("span", item.to.join(", ")),
  );
  button.onclick = () => open(item.id);
  const line = document.createElement("li");
  line.append(button);
  return line;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function pairs(list) {
  return list.flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
}

async function open(id) {
  const mail = await (await get(`messages/${id}`)).json();
  current = id;
  history.replaceState(null, "", `#${id}`);
  at("subject").textContent = mail.subject || "(no subject)";
  at("envelope").replaceChildren(...pairs([
    ["From", (mail.headers.From || [mail.from]).join(", ")],
    ["To", mail.to.join(", ")],
    ["Received", new Date(mail.received_at).toLocaleString()],
  ]));
  at("text").textContent = mail.text;
  at("headers").replaceChildren(...pairs(
    Object.entries(mail.headers).flatMap(([name, values]) => values.map((value) => [name, value])),
  ));
  at("source").textContent = "";
  at("html").src = mail.html ? `messages/${id}/html` : "about:blank";
  for (const tab of at("tabs").children) {
    tab.disabled = (tab.dataset.view === "html" && !mail.html) || (tab.dataset.view === "text" && !mail.text);
  }
  at("mail").hidden = false;
  at("hint").hidden = true;
  const possible = [view, ...views].find((name) => !at("tabs").querySelector(`[data-view=${name}]`).disabled);
  await show(possible);
  drawList();
}

function close() {
  current = null;
  history.replaceState(null, "", location.pathname);
  at("mail").hidden = true;
  at("hint").hidden = false;
}

async function show(name) {
  for (const tab of at("tabs").children) {
    tab.setAttribute("aria-selected", String(tab.dataset.view === name));
    at(tab.dataset.view).hidden = tab.dataset.view !== name;
  }
  if (name === "source" && !at("source").textContent) {
    at("source").textContent = await (await get(`messages/${current}/source`)).text();
  }
}

at("tabs").onclick = (event) => {
  const name = event.target.dataset.view;
  if (!name) return;
  view = name;
  show(name);
};
at("filter").oninput = drawList;
at("clear").onclick = async () => {
  if (!confirm("Delete all mails?")) return;
  await fetch("messages", { method: "DELETE" });
  await refresh();
};
if (/^#\d+$/.test(location.hash)) open(location.hash.slice(1)).catch(close);
poll();
