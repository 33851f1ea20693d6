import Addresses
import Documents

/// What a text must look like.
struct TextRule: Sendable {
    /// What is wrong with a text; nil if nothing is.
    let fault: @Sendable (String) -> String?
    let mend: String

    init(mend: String, fault: @escaping @Sendable (String) -> String?) {
        self.mend = mend
        self.fault = fault
    }

    private init(_ noun: String, mend: String, _ holds: @escaping @Sendable (String) -> Bool) {
        self.mend = mend
        fault = { holds($0) ? nil : "`\(excerpt($0))` is no \(noun)" }
    }

    static let any = TextRule(mend: "") { _ in nil }
    static let notEmpty = TextRule(mend: "write something") { $0.isEmpty ? "it is empty" : nil }

    /// An RFC 1123 label: a Service's, a Namespace's name.
    static let label = TextRule(
        "name", mend: "write up to 63 lower-case letters, digits and dashes, a letter or digit at both ends"
    ) { isLabel($0[...]) }

    /// Labels with dots: most objects' names.
    static let subdomain = TextRule(
        "name", mend: "write lower-case letters, digits, dashes and dots, a letter or digit at both ends"
    ) { isSubdomain($0[...]) }

    /// A Service's or container's port name. Kubernetes takes 15 characters for containers, 63 for Services.
    static let portName = TextRule(
        "port name", mend: "write lower-case letters, digits and dashes, like http-web"
    ) { isLabel($0[...]) }

    /// A name or an address of a host, without wildcards.
    static let host = TextRule("host", mend: "write a DNS name or an address") {
        isHostName($0[...]) || IPAddress($0) != nil
    }

    /// A DNS name without wildcards, no address.
    static let hostName = TextRule("host name", mend: "write a DNS name") { isHostName($0[...]) }

    /// A host, `*`, or one that begins with `*.`.
    static let hostPattern = TextRule("host", mend: "write a DNS name, one that begins with *., or an address") {
        isHostPattern($0[...])
    }

    /// A DNS name that may begin with `*.`; no address, no lone star. Source: Gateway API, Hostname.
    static let gatewayHostname = TextRule("host name", mend: "write a DNS name, or one that begins with *.") {
        $0 != "*" && isHostPattern($0[...]) && IPAddress($0) == nil && !$0.hasPrefix("*-")
    }

    /// `NAMESPACE/HOST`, `HOST`: NAMESPACE may be `*`, `.` or `~`.
    static let scopedHostPattern = TextRule(
        "host", mend: "write a DNS name, *, or NAMESPACE/ before one; NAMESPACE may be * or ."
    ) { text in
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { return isHostPattern(text[...]) }
        return (["*", ".", "~"].contains(parts[0]) || isLabel(parts[0])) && isHostPattern(parts[1])
    }

    /// A service of the mesh: a host, perhaps with `NAMESPACE/` before it.
    static let providerService = TextRule("service", mend: "write HOST or NAMESPACE/HOST") { text in
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return (1...2).contains(parts.count) && (parts.count == 1 || isLabel(parts[0])) && isHostName(parts.last!)
    }

    /// A namespace to export to: `.`, `*`, `~` or a name.
    static let exportTarget = TextRule("namespace", mend: "write . (the same), * (all), ~ (none) or a name") {
        ["*", ".", "~"].contains($0) || isLabel($0[...])
    }

    /// `mesh`, `NAME` or `NAMESPACE/NAME`.
    static let gatewayReference = TextRule("gateway", mend: "write mesh, NAME or NAMESPACE/NAME") { text in
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return (1...2).contains(parts.count) && parts.allSatisfy(isSubdomain)
    }

    static let address = TextRule("address", mend: "write an IPv4 or IPv6 address") { IPAddress($0) != nil }
    static let addressOrBlock = TextRule("address", mend: "write an address, or one with /BITS") {
        AddressBlock($0) != nil
    }

    static let regex = TextRule(mend: "correct the regular expression; it is RE2's language") { regexFault($0) }

    /// Source: RFC 9110, token.
    static let headerName = TextRule("header name", mend: "write letters, digits and dashes") { text in
        !text.isEmpty && text.utf8.allSatisfy { isTokenByte($0) }
    }

    /// As `headerName`, with a pseudo-header's colon.
    static let headerOrPseudo = TextRule("header name", mend: "write letters, digits and dashes") { text in
        let name = text.hasPrefix(":") ? text.dropFirst() : text[...]
        return !name.isEmpty && name.utf8.allSatisfy { isTokenByte($0) }
    }

    static let path = TextRule("path", mend: "begin it with /") { $0.hasPrefix("/") }

    /// `example.com/name` or `name`. Source: Kubernetes, labels and selectors.
    static let labelKey = TextRule(
        "label", mend: "write up to 63 letters, digits, -, _ and ., perhaps with a DNS name and / before them"
    ) { text in
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let name = parts.last, !name.isEmpty, isLabelText(name) else {
            return false
        }
        return parts.count == 1 || isSubdomain(parts[0])
    }

    static let labelValue = TextRule(
        "label value", mend: "write up to 63 letters, digits, -, _ and ., a letter or digit at both ends"
    ) { isLabelText($0[...]) }
}

// MARK: - Names

private func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"):
        true
    default: false
    }
}

/// Source: RFC 1123; Kubernetes takes lower case only.
func isLabel(_ text: Substring) -> Bool {
    isHostLabel(text) && !text.utf8.contains { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
}

private func isHostLabel(_ text: Substring) -> Bool {
    guard let first = text.utf8.first, let last = text.utf8.last, text.utf8.count <= 63 else { return false }
    return isAlphanumeric(first) && isAlphanumeric(last)
        && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
}

func isSubdomain(_ text: Substring) -> Bool {
    !text.isEmpty && text.utf8.count <= 253
        && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy(isLabel)
}

/// A dot at the end is allowed: the name is then complete.
func isHostName(_ text: Substring) -> Bool {
    let name = text.last == "." ? text.dropLast() : text
    guard !name.isEmpty, name.utf8.count <= 253 else { return false }
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    // A name whose last part is a number is an address that went wrong.
    return labels.allSatisfy { label in
        isHostLabel(label)
            || label.allSatisfy { $0 == "_" || ($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-")) }
                && label.first == "_" && label.count > 1
    } && !(labels.count == 4 && labels.allSatisfy { $0.utf8.allSatisfy { (48...57).contains($0) } })
}

func isHostPattern(_ text: Substring) -> Bool {
    if text == "*" { return true }
    if text.hasPrefix("*.") { return isHostName(text.dropFirst(2)) }
    if text.hasPrefix("*-") { return isHostName(text.dropFirst(2)) }
    return isHostName(text) || IPAddress(String(text)) != nil
}

private func isLabelText(_ text: Substring) -> Bool {
    guard let first = text.utf8.first, let last = text.utf8.last else { return true }
    return text.utf8.count <= 63 && isAlphanumeric(first) && isAlphanumeric(last)
        && text.utf8.allSatisfy { isAlphanumeric($0) || "-_.".utf8.contains($0) }
}

private func isTokenByte(_ byte: UInt8) -> Bool { isAlphanumeric(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte) }
