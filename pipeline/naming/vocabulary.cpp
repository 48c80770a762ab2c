#include "pipeline/naming/vocabulary.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "pipeline/naming/text.h"

namespace mediafs::naming {

namespace {

struct Words {
  std::uint32_t bits;
  std::string_view list;  // separated by spaces
};

constexpr Words kWords[] = {
    {kStrong,
     "bluray blurayrip bdrip brrip bdremux bdmux bdmv blueray bluraymux bluraydisc hddvd hddvdrip dvd dvdrip "
     "dvdr "
     "dvd5 dvd9 dvdscr "
     "dvdmux dvdscreener webdl webrip webdlrip webcap webmux webhd hdrip hdlight mhd vhsrip vhs vodrip "
     "ppvrip hdcam hdts camrip "
     "telesync telecine workprint dsnp amzn hmax atvp hulu pcok stan itunes bilibili baha "
     "xvid divx x264 x265 h264 h265 hevc avc vp9 av1 mpeg2 mpeg4 hi10p hi10 10bit 8bit hdr10 dovi uhd "
     "uhdrip aac aac2 aac5 ac3 ac3d eac3 ddp dd5 ddp5 dd2 ddp2 dts dtshd truehd atmos flac lpcm mp3 remux "
     "bd25 bd50 yify yts rarbg hdtvmux tvrip dlmux bdr r5 minisd nlsubs hebsubs swesub softsub softsubs "
     "hardsub hardsubs "
     "dirfix nfofix prooffix samplefix xpost vc1 avchd fullhd dvdfull bdfull ntsc amazonhd blurayremux "
     "hdclub upscaled"},
    {kStrong | kTvSource,
     "hdtv hdtvrip pdtv dsr dsrip satrip dvb dvbrip dvbs tvrip hdtvx264 hdtvmux sdtv ldtv ahdtv uhdtv ppv "
     "dthrip ptv"},
    {kWeak,
     "web hd sd ts tc dl nf dcu cr hbo ws fs md ld dubbed dub multi multisub multisubs proper repack rerip "
     "uncensored subbed sub subs dv hdr sdr 3d 4k 8k xxx docu doku remastered scr hc hq hsbs sbs hou ou om "
     "oar hfr rip readnfo nfo bd mp4 mkv avi wmv hardcoded dubs batch atv ma hra dd subforced legendado "
     "legendas "
     "dublado kbps mbps chaps ds4k raw raws custom"},
    {kWeak | kPlainWord,
     "cam line red real internal limited complete final pal festival colorized retail dual audio split "
     "scenes open "
     "matte half convert proof full screener int subtitles subtitle hardsub censored"},
    {kWeak | kTrailing, "proper repack rerip subbed subs subpack dirfix"},
    {kStrong | kSubtitled, "vostfr vost subfrench subesp vosta subita"},
    {kWeak, "fansub fastsub"},
    {kWeak | kLanguage,
     "english eng french fre fra fr truefrench vff vfq vfi vf vo vof german ger deu deutsch spanish spa esp "
     "espanol "
     "castellano latino italian ita italiano russian rus portuguese por ptbr dutch nld dutch flemish swedish "
     "swe norwegian nor danish dan finnish fin polish pol plsub pldub czech cze hungarian hun turkish tur "
     "greek "
     "hebrew heb arabic ara hindi hin tamil tam telugu tel malayalam mal kannada bengali chinese chi chs cht "
     "mandarin cantonese japanese jpn jap korean kor thai tha vietnamese ukrainian ukr romanian catalan "
     "nordic "
     "persian indonesian icelandic bulgarian serbian croatian"},
    {kEditionHead,
     "director's directors director theatrical extended special limited ultimate collector's collectors "
     "collector "
     "fan criterion signature anniversary deluxe definitive final assembly alternate alternative "
     "international "
     "restored unrated imax remastered rogue diamond platinum gold super integral longue rekall open "
     "uncut despecialized"},
    {kEditionTail, "cut edition version collection edit"},
    {kEditionAlone,
     "extended unrated uncut uncensored remastered imax theatrical despecialized fanedit restored recut "
     "colorized "
     "limited dc rekall"},
    {kSeasonWord,
     "season seasons saison saisons temporada temporadas temp tem seizoen stagione staffel sezon sezonul "
     "sesong "
     "sezona se"},
    {kEpisodeWord,
     "e ep eps episode episodes episodio episodios folge afl aflevering bolum cap capitulo capitulos avsnitt "
     "epizoda "
     "odcinek episodul epi"},
    {kSpecialWord, "ova ona oad oav ncop nced special specials sp"},
    {kExtraWord,
     "extra extras bonus trailer trailers featurette featurettes subpack interview interviews deleted "
     "behindthescenes gagreel"},
};

using Table = std::unordered_map<std::string_view, std::uint32_t>;

Table build_table() {
  Table table;
  for (const Words& entry : kWords) {
    std::string_view rest = entry.list;
    while (!rest.empty()) {
      const std::size_t space = std::min(rest.find(' '), rest.size());
      if (space > 0) table[rest.substr(0, space)] |= entry.bits;
      rest.remove_prefix(std::min(space + 1, rest.size()));
    }
  }
  return table;
}

std::size_t leading_digits(std::string_view s) {
  std::size_t n = 0;
  while (n < s.size() && is_digit(s[n])) ++n;
  return n;
}

// 1080p, 1080p24, 720i, 1280x720, 1280*720
bool looks_like_resolution(std::string_view s) {
  const std::size_t n = leading_digits(s);
  if (n < 3 || n > 4 || n == s.size()) return false;
  const std::string_view rest = s.substr(n + 1);
  if (s[n] == 'p' || s[n] == 'i') return to_int(s.substr(0, n)) >= 144 && (rest.empty() || all_digits(rest));
  if (s[n] == 'x' || s[n] == '*') return rest.size() >= 3 && rest.size() <= 4 && all_digits(rest);
  return false;
}

// A number with a technical unit: 10bit, 6ch, 700mb, 60fps, 448kbps
bool looks_like_measure(std::string_view s) {
  static constexpr std::array<std::string_view, 11> kUnits = {"bit", "bits", "ch",   "mb",   "gb", "mib",
                                                              "gib", "fps",  "kbps", "mbps", "in1"};
  const std::size_t n = leading_digits(s);
  if (n == 0 || n > 5) return false;
  return std::find(kUnits.begin(), kUnits.end(), s.substr(n)) != kUnits.end();
}

// Words with a technical head and more glued to it: x264ac3, hdtvx264, dts51, ddp51, web1080
bool has_technical_head(std::string_view s) {
  static constexpr std::array<std::string_view, 15> kHeads = {"x264", "x265",   "h264",   "h265",  "hdtvx",
                                                              "xvid", "dvdrip", "webrip", "bdrip", "aac",
                                                              "ddp",  "bluray", "hevc",   "eac3",  "ac3"};
  return std::any_of(kHeads.begin(), kHeads.end(), [&](std::string_view head) {
    return s.size() > head.size() && s.substr(0, head.size()) == head;
  });
}

}  // namespace

std::uint32_t classify_word(std::string_view lower) {
  static const Table table = build_table();
  while (!lower.empty() && (lower.back() == '!' || lower.back() == '?')) lower.remove_suffix(1);
  if (const auto it = table.find(lower); it != table.end()) {
    return it->second | (month_number(lower) ? kMonth : 0U);
  }
  if (looks_like_resolution(lower)) return kStrong | kResolution;
  if (looks_like_measure(lower)) return kStrong;
  if (lower.size() >= 2 && lower.size() <= 3 && lower[0] == 'v' && all_digits(lower.substr(1)))
    return kVersion;
  if (has_technical_head(lower)) return kStrong;
  if (month_number(lower)) return kMonth;
  return 0;
}

std::string_view language_code(std::string_view lower) {
  static const std::unordered_map<std::string_view, std::string_view> table = {
      {"english", "en"},    {"eng", "en"},        {"french", "fr"},     {"fre", "fr"},
      {"fra", "fr"},        {"truefrench", "fr"}, {"vff", "fr"},        {"vf", "fr"},
      {"vfq", "fr"},        {"vfi", "fr"},        {"german", "de"},     {"ger", "de"},
      {"deu", "de"},        {"deutsch", "de"},    {"spanish", "es"},    {"spa", "es"},
      {"esp", "es"},        {"espanol", "es"},    {"castellano", "es"}, {"latino", "es"},
      {"italian", "it"},    {"ita", "it"},        {"italiano", "it"},   {"russian", "ru"},
      {"rus", "ru"},        {"portuguese", "pt"}, {"por", "pt"},        {"ptbr", "pt"},
      {"dutch", "nl"},      {"nld", "nl"},        {"flemish", "nl"},    {"swedish", "sv"},
      {"swe", "sv"},        {"norwegian", "no"},  {"nor", "no"},        {"danish", "da"},
      {"dan", "da"},        {"finnish", "fi"},    {"polish", "pl"},     {"pol", "pl"},
      {"czech", "cs"},      {"cze", "cs"},        {"hungarian", "hu"},  {"hun", "hu"},
      {"turkish", "tr"},    {"tur", "tr"},        {"greek", "el"},      {"hebrew", "he"},
      {"heb", "he"},        {"arabic", "ar"},     {"ara", "ar"},        {"hindi", "hi"},
      {"hin", "hi"},        {"tamil", "ta"},      {"tam", "ta"},        {"telugu", "te"},
      {"tel", "te"},        {"malayalam", "ml"},  {"mal", "ml"},        {"kannada", "kn"},
      {"bengali", "bn"},    {"chinese", "zh"},    {"chi", "zh"},        {"chs", "zh"},
      {"cht", "zh"},        {"mandarin", "zh"},   {"cantonese", "zh"},  {"japanese", "ja"},
      {"jpn", "ja"},        {"jap", "ja"},        {"korean", "ko"},     {"kor", "ko"},
      {"thai", "th"},       {"tha", "th"},        {"vietnamese", "vi"}, {"ukrainian", "uk"},
      {"ukr", "uk"},        {"romanian", "ro"},   {"catalan", "ca"},    {"persian", "fa"},
      {"indonesian", "id"}, {"icelandic", "is"},  {"bulgarian", "bg"},  {"serbian", "sr"},
      {"croatian", "hr"},   {"multi", "multi"}};
  const auto it = table.find(lower);
  return it == table.end() ? std::string_view{} : it->second;
}

std::optional<int> month_number(std::string_view lower) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "january", "february", "march",     "april",   "may",      "june",
      "july",    "august",   "september", "october", "november", "december"};
  if (lower.size() < 3) return std::nullopt;
  for (std::size_t i = 0; i < kMonths.size(); ++i) {
    if (lower == kMonths[i] || lower == kMonths[i].substr(0, 3)) return static_cast<int>(i) + 1;
  }
  return std::nullopt;
}

bool is_video_extension(std::string_view lower) {
  static constexpr std::array<std::string_view, 26> kVideo = {
      "mkv", "mp4", "avi",  "m4v", "mov", "wmv",  "mpg", "mpeg", "ts",  "m2ts", "mts",  "webm", "flv",
      "ogm", "ogv", "divx", "vob", "iso", "rmvb", "rm",  "asf",  "3gp", "m2v",  "strm", "wtv",  "img"};
  return std::find(kVideo.begin(), kVideo.end(), lower) != kVideo.end();
}

bool is_subtitle_extension(std::string_view lower) {
  static constexpr std::array<std::string_view, 9> kSubtitles = {"srt", "sub", "idx", "ass", "ssa",
                                                                 "vtt", "smi", "sup", "usf"};
  return std::find(kSubtitles.begin(), kSubtitles.end(), lower) != kSubtitles.end();
}

bool is_known_extension(std::string_view lower) {
  static constexpr std::array<std::string_view, 22> kOther = {
      "nfo", "nzb", "torrent", "jpg",  "jpeg", "png", "txt", "sfv", "rar",  "zip",  "7z",
      "mka", "mks", "mp3",     "flac", "tbn",  "xml", "exe", "url", "html", "par2", "webp"};
  return is_video_extension(lower) || is_subtitle_extension(lower) ||
         std::find(kOther.begin(), kOther.end(), lower) != kOther.end();
}

}  // namespace mediafs::naming
