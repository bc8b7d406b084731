// Who is signed in. The key is held in memory and, when the person wants it, in sessionStorage until the tab is closed.

import { Api } from "./api.js";

const PLACE = "gateway.key";

export const keptKey = () => sessionStorage.getItem(PLACE);

/** Asks the gateway who the key is. Throws Problem and Unreachable. */
export async function openSession(key, { keep, refused }) {
  const api = new Api(key, refused);
  const me = await api.get("/v1/audit/whoami");
  if (keep) sessionStorage.setItem(PLACE, key);
  return { api, me, can: (scope) => me.scopes.includes(scope), isOperator: me.tenant_id === "*" };
}

export function forgetKey() {
  sessionStorage.removeItem(PLACE);
}
