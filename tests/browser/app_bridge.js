// A host made of the AppBridge of `@modelcontextprotocol/ext-apps`, which speaks for it; what it hears is recorded.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const capabilities = { serverTools: {}, serverResources: {}, updateModelContext: { text: {} }, message: { text: {} } };
window.sent = [];

window.start = async (html, policy, theme) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.style.cssText = "display: block; width: 100%; height: 0; border: 0";
  document.body.append(frame);
  const containerDimensions = { maxWidth: 800, maxHeight: 400 };
  const context = { theme, displayMode: "inline", availableDisplayModes: ["inline"], containerDimensions, locale: "en-US" };
  const bridge = new AppBridge(null, { name: "host", version: "1" }, capabilities, { hostContext: context });
  const heard = (method, params) => window.sent.push({ method, params });
  bridge.oncalltool = async params => {
    heard("tools/call", params);
    return JSON.parse(await window.answer(JSON.stringify({ method: "tools/call", params })));
  };
  bridge.onreadresource = async params => {
    heard("resources/read", params);
    return JSON.parse(await window.answer(JSON.stringify({ method: "resources/read", params })));
  };
  bridge.onsizechange = params => {
    heard("ui/notifications/size-changed", params);
    frame.style.height = `${params.height}px`;
  };
  bridge.onmessage = async params => { heard("ui/message", params); return {} };
  bridge.onupdatemodelcontext = async params => { heard("ui/update-model-context", params); return {} };
  const ready = new Promise(resolve => { bridge.oninitialized = resolve });
  frame.srcdoc = html.replace("<head>", `<head><meta http-equiv="Content-Security-Policy" content="${policy}">`);
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  await ready;
  window.bridge = bridge;
  return [bridge.getAppVersion(), bridge.getAppCapabilities()];
};
