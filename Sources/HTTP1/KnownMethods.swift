import HTTP

/// The methods that Envoy takes over HTTP/1 unless `allow_custom_methods` is set.
enum KnownMethods {
    static func contains(_ method: UnsafeRawBufferPointer) -> Bool {
        if method.equals(StaticString("GET").bytes) || method.equals(StaticString("POST").bytes) { return true }
        switch method.count {
        case 3: among(method, ["PUT", "ACL"])
        case 4: among(method, ["HEAD", "BIND", "COPY", "LINK", "LOCK", "MOVE"])
        case 5: among(method, ["PATCH", "TRACE", "MERGE", "MKCOL", "PURGE"])
        case 6:
            among(method, ["DELETE", "NOTIFY", "REBIND", "REPORT", "SEARCH", "SOURCE", "UNBIND", "UNLINK", "UNLOCK"])
        case 7: among(method, ["OPTIONS", "CONNECT"])
        case 8: among(method, ["CHECKOUT", "M-SEARCH", "PROPFIND"])
        case 9: among(method, ["PROPPATCH", "SUBSCRIBE"])
        case 10: among(method, ["MKACTIVITY", "MKCALENDAR"])
        case 11: among(method, ["UNSUBSCRIBE"])
        default: false
        }
    }

    @inline(__always)
    private static func among(_ method: UnsafeRawBufferPointer, _ names: [StaticString]) -> Bool {
        for name in names where method.equals(name.bytes) { return true }
        return false
    }
}
