"""Short texts on topics far from each other, so that a search for a meaning has something to find."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Article:
    """One text, written for this corpus."""

    title: str
    topic: str
    author: str
    paragraphs: tuple[str, ...]

    @property
    def plain(self) -> str:
        """Title and paragraphs, with blank lines between them."""
        return "\n\n".join((self.title, *self.paragraphs)) + "\n"


ARTICLES = {
    "tomatoes": Article(
        "Tomatoes on a balcony",
        "gardening",
        "Ines Moreau",
        (
            "Tomatoes ask for three things: a deep pot, six hours of sun, and water that never stops and starts. Fruit "
            "that splits has usually been dry for days and then drowned. Water the soil in the morning and keep the "
            "leaves dry, because wet leaves invite blight.",
            "Pinch out the side shoots that grow between stem and branch, and tie the main stem to a cane every hand's "
            "breadth. Once the first flowers open, feed the plant every week with something rich in potassium. Basil "
            "and marigolds grow well at its feet and keep whitefly away.",
        ),
    ),
    "compost": Article(
        "A compost heap that does not smell",
        "gardening",
        "Ines Moreau",
        (
            "A heap that smells of rotten eggs has too much kitchen waste and too little air. Put two buckets of dry "
            "leaves, straw or torn cardboard on every bucket of peelings and grass, and turn the whole with a fork "
            "once a fortnight.",
            "After six weeks the middle should be as warm as a bath. When worms move in and the crumbs look like dark "
            "earth, spread a finger's depth of it over the beds before winter.",
        ),
    ),
    "saturn": Article(
        "What the rings of Saturn are made of",
        "astronomy",
        "Tomas Lindqvist",
        (
            "The rings of Saturn look solid through a small telescope, yet they are billions of pieces of water ice, "
            "from grains of sugar to houses, each on an orbit of its own. They span more than a quarter of a million "
            "kilometres and are in most places thinner than a block of flats is high.",
            "Small moons travel between the rings and comb gaps into them with their gravity. Measurements of the "
            "rings' mass suggest that they are younger than the planet, perhaps the remains of an icy moon that came "
            "too close and was torn apart.",
        ),
    ),
    "telescope": Article(
        "Buying a first telescope",
        "astronomy",
        "Tomas Lindqvist",
        (
            "Magnification sells telescopes, but the width of the mirror decides what you see. A plain Newtonian "
            "reflector of 150 millimetres on a wooden rocker box shows the moons of Jupiter, the Orion nebula and "
            "a handful of galaxies, and it stands ready in two minutes.",
            "Let it cool outside for half an hour, leave the town's lamps behind, and give your eyes twenty minutes "
            "to get used to the dark before you judge the night.",
        ),
    ),
    "sourdough": Article(
        "Sourdough bread in two days",
        "cooking",
        "Ada Okafor",
        (
            "Feed the starter in the evening with equal weights of flour and water. By morning it should have doubled "
            "and float in a glass of water. Mix it with flour, water and salt, and fold the dough every half hour "
            "until it feels like a cushion.",
            "Shape the loaf, let it rest overnight in the refrigerator, and bake it in a very hot cast-iron pot: "
            "twenty-five minutes under the lid for the steam, twenty more without it for the crust. It sings when it "
            "cools. Do not cut it while it sings.",
        ),
    ),
    "onions": Article(
        "Caramelised onions, slowly",
        "cooking",
        "Ada Okafor",
        (
            "Slice a kilo of onions, melt butter in a wide pan, and keep the flame low. For the first twenty minutes "
            "they only sweat and turn glassy. Then they grow golden, then brown, and sweet as jam: an hour in all, and "
            "a spoon of water each time they stick.",
            "Keep them for soup with toasted cheese, for a tart with thyme, or for an omelette on a tired evening.",
        ),
    ),
    "interest": Article(
        "Compound interest in plain words",
        "finance",
        "Rahul Menon",
        (
            "Compound interest pays interest on earlier interest. Divide 72 by the yearly rate and you have, roughly, "
            "the number of years in which a sum doubles: at six per cent, twelve years. Someone who saves from the age "
            "of twenty-five for ten years and then stops often retires with more money than someone who starts at "
            "thirty-five and never stops.",
            "Debt works the same way in the other direction. A credit card at twenty per cent doubles what is owed in "
            "less than four years, so paying it back is the best investment most households can make.",
        ),
    ),
    "mortgage": Article(
        "Fixed or variable: choosing a mortgage",
        "finance",
        "Rahul Menon",
        (
            "A fixed rate is an insurance: you pay the bank a little more so that your monthly payment cannot rise. A "
            "variable rate is usually cheaper on the first day, and yours is the risk of what the central bank does.",
            "Ask what it costs to repay early, what happens when the fixed years end, and whether you could still pay "
            "if the rate went up by three points.",
        ),
    ),
    "sailing": Article(
        "Reefing before you need to",
        "sailing",
        "Greta Hansen",
        (
            "The time to take in a reef is when you first think of it. Ease the mainsheet, lower the halyard to the "
            "mark, hook the new tack, haul the reefing line until the foot is flat, and hoist again. A boat that "
            "stands upright steers lighter and often sails faster than one on her ear.",
            "Practise at the mooring on a calm day until each of the crew can do it without a word, because one night "
            "in a rising wind nobody will hear any.",
        ),
    ),
    "chess": Article(
        "Why castling early pays",
        "chess",
        "Greta Hansen",
        (
            "A king in the middle is a target as soon as the centre opens. Castling puts it behind three pawns and "
            "brings a rook towards the files where it works, both in one move. Develop the knights and one bishop, "
            "castle, connect the rooks; only then look for an attack.",
            "Beginners lose many games with a queen that came out on the third move and had to run from every knight.",
        ),
    ),
    "bees": Article(
        "A year with honey bees",
        "beekeeping",
        "Milan Kovac",
        (
            "In late winter the cluster has shrunk to the size of a football and eats its way through the last combs. "
            "When the willows bloom the queen lays two thousand eggs a day, and by May the hive is so full that half "
            "of it may leave as a swarm.",
            "The keeper gives room in time, takes honey after the lime trees have flowered, treats against varroa "
            "mites in August, and feeds sugar syrup before the frost. One hive brings twenty kilos in a good summer.",
        ),
    ),
    "sleep": Article(
        "Sleeping better without pills",
        "health",
        "Dr Leila Haddad",
        (
            "Get up at the same hour every day, weekends too: the body's clock is set in the morning, by light. Coffee "
            "after lunch is still half there at bedtime. A bedroom should be dark, quiet and cooler than the rest of "
            "the home.",
            "Who lies awake for more than twenty minutes should get up, read something dull under a dim lamp, and go "
            "back when the eyes close. If you snore loudly and are tired by day, see a doctor about sleep apnoea.",
        ),
    ),
    "back-pain": Article(
        "An aching back at the desk",
        "health",
        "Dr Leila Haddad",
        (
            "Most pain in the lower back has no dangerous cause and passes within weeks. Rest in bed makes it last "
            "longer; walking helps. Change your posture every half hour, keep the screen at the height of your eyes, "
            "and lift with your knees.",
            "Numbness between the legs, fever, or weakness in a foot are different: go to a hospital the same day.",
        ),
    ),
    "printing": Article(
        "The press that Gutenberg built",
        "history",
        "Paulo Nunes",
        (
            "Around 1450 a goldsmith in Mainz joined three crafts that already existed: punches for metal letters, an "
            "oily ink that sticks to metal, and the screw press of the wine makers. A page that took a scribe a day "
            "could now be printed two hundred times between breakfast and dusk.",
            "Within fifty years there were presses in more than two hundred towns of Europe, and books cost a "
            "fifth of what they had cost before.",
        ),
    ),
    "aqueducts": Article(
        "How Rome was supplied with water",
        "history",
        "Paulo Nunes",
        (
            "Eleven aqueducts carried water into ancient Rome, most of the way underground. Surveyors held a fall of a "
            "few hand's breadths over each kilometre, for fifty kilometres and more, with nothing but a wooden level "
            "and patience. The arches that we photograph were the exception, built where a valley had to be crossed.",
        ),
    ),
    "bicycle": Article(
        "Keeping a bicycle chain alive",
        "repairs",
        "Sofie de Vries",
        (
            "A dirty chain grinds itself and the sprockets away. Wipe it with a rag after a wet ride, put one drop of "
            "oil on each roller, turn the cranks for a minute, and wipe off everything you can still see.",
            "Measure its wear every few hundred kilometres with a gauge. A new chain in time is cheap; a worn one "
            "takes the cassette with it. When the gears jump under load, it is usually too late.",
        ),
    ),
    "piano": Article(
        "Why a piano goes out of tune",
        "music",
        "Yuki Tanaka",
        (
            "More than two hundred strings pull at the frame of a piano with the weight of a lorry. When the air turns "
            "damp the wooden soundboard swells, the strings rise with it and the pitch goes up; when the heating dries "
            "the room it sinks again.",
            "A tuner does not make the intervals pure. Each fifth is narrowed by a hair so that all twelve keys "
            "are equally good, and the octaves are stretched a little to please the ear.",
        ),
    ),
    "fog": Article(
        "Where morning fog comes from",
        "weather",
        "Yuki Tanaka",
        (
            "On a clear, still night the ground loses its warmth to the sky, and the air above it cools until it can "
            "no longer hold its moisture. Tiny drops form around dust and salt: a cloud that touches the earth. It "
            "gathers in valleys because cold air flows downhill, and the morning sun lifts it from below.",
        ),
    ),
    "mushrooms": Article(
        "Chanterelle or impostor",
        "foraging",
        "Milan Kovac",
        (
            "A true chanterelle smells of apricots and carries blunt ridges that run down the stem; its flesh is pale "
            "inside. The false one has thin, crowded gills and is orange all the way through. The poisonous jack "
            "o'lantern grows in clumps on wood, chanterelles never do.",
            "Pick only what you would bet your liver on, leave the rest standing, and show your basket to somebody who "
            "has done it for years.",
        ),
    ),
    "backups": Article(
        "Backups that can be restored",
        "computing",
        "Sofie de Vries",
        (
            "Three copies, on two kinds of media, one of them in another building: the rule is old and still holds. A "
            "copy that is always connected will be encrypted by the same ransomware as the original.",
            "A backup nobody has restored is a hope. Once a quarter, take a random file and a whole machine, restore "
            "both on other hardware, and write down how long it took.",
        ),
    ),
    "passwords": Article(
        "Passwords that people can live with",
        "computing",
        "Sofie de Vries",
        (
            "Length beats odd characters. Five random words are harder to guess than a short string of symbols, and "
            "can be typed on a telephone. Use another password for every site, kept by a password manager, and turn on "
            "a second factor for your mail, since whoever reads it can reset all the rest.",
        ),
    ),
    "whales": Article(
        "The songs of humpback whales",
        "nature",
        "Ines Moreau",
        (
            "Male humpback whales sing for hours in warm winter waters. A song is built of phrases and themes in a "
            "fixed order, and all males of one ocean sing the same song at the same time. During the season it "
            "slowly changes, and everyone learns the change.",
            "New songs have been followed from the coast of Australia across the Pacific, from one population to the "
            "next, like a fashion that travels east.",
        ),
    ),
    "coffee": Article(
        "Espresso: sour, bitter or right",
        "cooking",
        "Ada Okafor",
        (
            "If the cup tastes sour, the water ran through too fast: grind finer. If it is bitter and dry, grind "
            "coarser. Eighteen grams of coffee in, thirty-six out, in about half a minute, is where most beans show "
            "what they can do. Fresh beans need a few days after roasting to lose their gas.",
        ),
    ),
}
