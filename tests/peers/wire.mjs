// HTTPS with a certificate, in the form of `fetch` that OAuth clients take.
import fs from 'node:fs';
import https from 'node:https';

export const file = (dir, name) => fs.readFileSync(`${dir}/${name}`);

// A fetch that shows the certificate in a directory, if one is given; node:https sends bodies chunked.
export function fetchAs(ca, dir, settings = {}) {
  const tls = { ca, ...settings, ...(dir && { cert: file(dir, 'svid.pem'), key: file(dir, 'svid.key') }) };
  return (url, { method = 'GET', headers = {}, body } = {}) =>
    new Promise((resolve, reject) => {
      const options = { method, headers: Object.fromEntries(new Headers(headers)), ...tls };
      const request = https.request(url, options, (response) => {
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('end', () => {
          const content = parts.length ? Buffer.concat(parts) : null;
          resolve(new Response(content, { status: response.statusCode, headers: response.headers }));
        });
      });
      request.on('error', reject);
      if (body !== undefined && body !== null) request.write(body.toString());
      request.end();
    });
}
