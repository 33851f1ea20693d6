/// The form of a resource name in which two spellings of one resource are equal: an `xdstp:` name without its
/// fragment (directives are for the client, not part of the name) and with its context parameters in the order of
/// their keys. Other names are opaque and stay as they are.
/// Source: xRFC TP1; gRFC A47, xds.core.v3.ResourceName.
func canonicalResourceName(_ name: String) -> String {
    guard name.hasPrefix("xdstp:") else { return name }
    let withoutFragment = name.prefix { $0 != "#" }
    guard let mark = withoutFragment.firstIndex(of: "?") else { return String(withoutFragment) }
    let parameters = withoutFragment[withoutFragment.index(after: mark)...].split(separator: "&")
        .sorted { left, right in
            let (leftKey, rightKey) = (left.prefix { $0 != "=" }, right.prefix { $0 != "=" })
            return leftKey == rightKey ? left < right : leftKey < rightKey
        }
    let path = withoutFragment[..<mark]
    return parameters.isEmpty ? String(path) : path + "?" + parameters.joined(separator: "&")
}
