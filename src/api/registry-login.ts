/**
 * `docker login`: asks the registry whether it takes the credentials. Nothing is kept; the client keeps them and
 * sends them along with each pull. daemon/ gives this to the API as `EngineBackend.login`.
 */
import { apiHost, basicHeader, isPlainHttp, parseChallenge } from '../containerd/registry-auth.ts';
import type { RegistryAuth } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';

export interface RegistryLoginOptions {
  /** Registries spoken to without TLS, as given to the image store. */
  readonly insecure: readonly string[];
  readonly fetch?: typeof fetch;
}

const DEADLINE_MS = 15_000;

export function registryLogin(options: RegistryLoginOptions) {
  const ask = options.fetch ?? fetch;
  return async (auth: RegistryAuth, signal: AbortSignal): Promise<{ readonly identityToken: string }> => {
    const domain = registryOf(auth.serveraddress ?? '');
    const plain = isPlainHttp(domain, options.insecure);
    const url = `${plain ? 'http' : 'https'}://${domain}/v2/`;
    const init = {
      headers: { authorization: basicHeader(auth) },
      redirect: 'error' as const, // credentials go to the registry that was named, and nowhere else
      signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
    };
    const first = await answer(ask, url, init);
    const realm =
      first.status === 401 ? bearerRealm(first.headers.get('www-authenticate'), auth, plain) : undefined;
    const last = realm ? await answer(ask, realm, init) : first;
    if (last.ok) return { identityToken: '' };
    if (last.status === 401 || last.status === 403)
      throw new SkeinError('unauthenticated', `Get "${url}": unauthorized: incorrect username or password`);
    throw new SkeinError('unavailable', `Get "${url}": the registry answered ${last.status}`);
  };
}

async function answer(ask: typeof fetch, url: string, init: RequestInit): Promise<Response> {
  try {
    const response = await ask(url, init);
    await response.body?.cancel();
    return response;
  } catch (cause) {
    const reason =
      cause instanceof Error ? ((cause.cause as Error | undefined)?.message ?? cause.message) : String(cause);
    throw new SkeinError('unavailable', `Get "${url}": ${reason}`, { cause });
  }
}

/** The registry's host and port in what clients send: `https://index.docker.io/v1/`, `host:5000`, empty. */
function registryOf(address: string): string {
  const domain = address.replace(/^https?:\/\//, '').split('/')[0]!;
  if (domain === '' || /^(index\.)?docker\.io$/.test(domain)) return apiHost('docker.io');
  if (!/^[\w.-]+(:\d{1,5})?$/.test(domain))
    throw new SkeinError('invalid-argument', `invalid registry address: ${address}`);
  return domain;
}

/** Where to ask for a token, if the registry wants one; a secure registry may not send us to an insecure place. */
function bearerRealm(challenge: string | null, auth: RegistryAuth, plain: boolean): string | undefined {
  const parsed = parseChallenge(challenge);
  if (parsed?.scheme !== 'bearer') return undefined;
  const { realm: given = '', service } = parsed.params;
  const realm = URL.canParse(given) ? new URL(given) : undefined;
  if (!realm || (realm.protocol !== 'https:' && !plain))
    throw new SkeinError('unavailable', `the registry asks for a token from "${given}", which is not safe`);
  if (service) realm.searchParams.set('service', service);
  realm.searchParams.set('account', auth.username ?? '');
  return realm.href;
}
