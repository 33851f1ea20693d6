extension String {
    /// At most so many bytes of UTF-8. Where something is missing it ends between two Unicode scalars and with "…",
    /// which counts, or with nothing where the limit has no room for that.
    ///
    /// By scalars, because one character can be of any length.
    package func cut(toBytes limit: Int) -> String {
        if utf8.count <= limit { return self }
        let mark = limit >= Self.mark.utf8.count ? Self.mark : ""
        var end = utf8.index(startIndex, offsetBy: limit - mark.utf8.count)
        while String.Index(end, within: unicodeScalars) == nil { end = utf8.index(before: end) }
        return self[..<end] + mark
    }

    private static let mark = "…"
}
