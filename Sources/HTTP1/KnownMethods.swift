import HTTP

/// The methods that Envoy takes over HTTP/1 unless `allow_custom_methods` is set.
enum KnownMethods {
    static func contains(_ method: UnsafeRawBufferPointer) -> Bool {
        if method.equals(StaticString("GET").bytes) || method.equals(StaticString("POST").bytes) { return true }
        switch method.count {
        case 3: return among(method, ["PUT", "ACL"])
        case 4: return among(method, ["HEAD", "BIND", "COPY", "LINK", "LOCK", "MOVE"])
        case 5: return among(method, ["PATCH", "TRACE", "MERGE", "MKCOL", "PURGE"])
        case 6:
            return among(
                method, ["DELETE", "NOTIFY", "REBIND", "REPORT", "SEARCH", "SOURCE", "UNBIND", "UNLINK", "UNLOCK"])
        case 7: return among(method, ["OPTIONS", "CONNECT"])
        case 8: return among(method, ["CHECKOUT", "M-SEARCH", "PROPFIND"])
        case 9: return among(method, ["PROPPATCH", "SUBSCRIBE"])
        case 10: return among(method, ["MKACTIVITY", "MKCALENDAR"])
        case 11: return among(method, ["UNSUBSCRIBE"])
        default: return false
        }
    }

    @inline(__always)
    private static func among(_ method: UnsafeRawBufferPointer, _ names: [StaticString]) -> Bool {
        for name in names where method.equals(name.bytes) { return true }
        return false
    }
}
