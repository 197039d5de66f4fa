import cf from 'cloudfront';
const store = cf.kvs();
async function handler(event) {
    const request = event.request;
    request.uri = await store.get(request.querystring.q.value);
    return request;
}
