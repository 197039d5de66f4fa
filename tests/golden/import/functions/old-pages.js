function handler(event) {
    var request = event.request;
    if (request.uri === '/old/about' || request.uri === '/old/team') {
        return { statusCode: 301, headers: { location: { value: '/about/' } } };
    }
    if (request.uri.startsWith('/old/blog/')) {
        return { statusCode: 302, headers: { location: { value: 'https://blog.example.com' + request.uri } } };
    }
    return request;
}
